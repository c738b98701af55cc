CREATE TABLE categories (
    id        BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    parent_id BIGINT NULL,
    name      VARCHAR(64) NOT NULL,
    INDEX ix_categories_parent (parent_id),
    CONSTRAINT fk_categories_parent FOREIGN KEY (parent_id) REFERENCES categories (id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_unicode_520_ci;

CREATE TABLE products (
    id          BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    name        VARCHAR(200) NOT NULL,
    description TEXT NOT NULL,
    image_url   VARCHAR(2048) NULL,
    category_id BIGINT NULL,
    price_cents BIGINT NOT NULL,
    -- available + reserved + sold is what was ever stocked, less what was written off: the sum of stock_movements.
    available   BIGINT NOT NULL,
    reserved    BIGINT NOT NULL DEFAULT 0,
    sold        BIGINT NOT NULL DEFAULT 0,
    on_shelf    TINYINT(1) NOT NULL,
    created_at  BIGINT NOT NULL,
    updated_at  BIGINT NOT NULL,
    -- A list by what it is sorted by; the id makes the order total.
    INDEX ix_products_price (on_shelf, price_cents, id),
    INDEX ix_products_sold (on_shelf, sold, id),
    INDEX ix_products_category (category_id, on_shelf, id),
    CONSTRAINT fk_products_category FOREIGN KEY (category_id) REFERENCES categories (id),
    CONSTRAINT ck_products_stock CHECK (available >= 0 AND reserved >= 0 AND sold >= 0)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_unicode_520_ci;

-- Why there is as much stock as there is: goods in, written off, counted again.
CREATE TABLE stock_movements (
    id         BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    product_id BIGINT NOT NULL,
    delta      BIGINT NOT NULL,
    reason     VARCHAR(200) NOT NULL,
    -- The admin; null for what the shop was loaded with.
    user_id    BIGINT NULL,
    created_at BIGINT NOT NULL,
    INDEX ix_stock_movements_product (product_id),
    CONSTRAINT fk_stock_movements_product FOREIGN KEY (product_id) REFERENCES products (id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_unicode_520_ci;
