-- What products are found by: words, and pairs of characters; see `crates/search`. UTF-8, compared as bytes.
CREATE TABLE product_terms (
    product_id BIGINT NOT NULL,
    term       VARBINARY(64) NOT NULL,
    PRIMARY KEY (product_id, term),
    INDEX ix_product_terms_term (term, product_id),
    CONSTRAINT fk_product_terms_product FOREIGN KEY (product_id) REFERENCES products (id)
) ENGINE = InnoDB;

-- The name as it is searched. Null until its terms are there, too.
ALTER TABLE products ADD COLUMN search_text TEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL;

-- How many paid orders had both: each pair in both directions.
CREATE TABLE product_pairs (
    product_id BIGINT NOT NULL,
    other_id   BIGINT NOT NULL,
    times      BIGINT NOT NULL,
    PRIMARY KEY (product_id, other_id),
    INDEX ix_product_pairs_times (product_id, times, other_id)
) ENGINE = InnoDB;
