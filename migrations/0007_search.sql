-- What products are found by: beginnings of words, pairs of characters; see `crates/search`. UTF-8, compared as bytes.
-- No foreign key: it would want an index as large as the table, and products stay.
CREATE TABLE product_terms (
    term       VARBINARY(32) NOT NULL,
    product_id BIGINT NOT NULL,
    PRIMARY KEY (term, product_id)
) ENGINE = InnoDB;

-- The name as it is searched; its terms are those in the table above. Null until they are there.
ALTER TABLE products ADD COLUMN search_text TEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL;

-- How many paid orders had both: each pair in both directions.
CREATE TABLE product_pairs (
    product_id BIGINT NOT NULL,
    other_id   BIGINT NOT NULL,
    times      BIGINT NOT NULL,
    PRIMARY KEY (product_id, other_id),
    INDEX ix_product_pairs_times (product_id, times, other_id)
) ENGINE = InnoDB;
