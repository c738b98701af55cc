-- What products are found by: beginnings of words, pairs of characters; see `crates/search`. UTF-8, compared as bytes.
-- The products of a term come in blocks of 4096 consecutive ids: two bytes for each, its place in the block, in any order.
CREATE TABLE product_terms (
    term     VARBINARY(32) NOT NULL,
    block    BIGINT NOT NULL,
    products VARBINARY(8192) NOT NULL,
    PRIMARY KEY (term, block)
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
