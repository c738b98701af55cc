CREATE TABLE orders (
    -- A ULID: sorts by the time it was made.
    order_no       CHAR(26) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
    user_id        BIGINT NOT NULL,
    status         VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    subtotal_cents BIGINT NOT NULL,
    discount_cents BIGINT NOT NULL,
    total_cents    BIGINT NOT NULL,
    currency       CHAR(3) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    -- Copies, as JSON: what the order was placed with stays, whatever becomes of the address and the promotions.
    discounts      TEXT NOT NULL,
    address        TEXT NULL,
    note           VARCHAR(500) NULL,
    created_at     BIGINT NOT NULL,
    expires_at     BIGINT NOT NULL,
    paid_at        BIGINT NULL,
    shipped_at     BIGINT NULL,
    completed_at   BIGINT NULL,
    cancelled_at   BIGINT NULL,
    cancel_reason  VARCHAR(200) NULL,
    carrier        VARCHAR(200) NULL,
    tracking_no    VARCHAR(200) NULL,
    INDEX ix_orders_user (user_id, order_no),
    INDEX ix_orders_status (status, order_no),
    -- What sold best lately.
    INDEX ix_orders_paid (paid_at),
    CONSTRAINT fk_orders_user FOREIGN KEY (user_id) REFERENCES users (id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_unicode_520_ci;

CREATE TABLE order_items (
    order_no     CHAR(26) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    line         SMALLINT NOT NULL,
    product_id   BIGINT NOT NULL,
    name         VARCHAR(200) NOT NULL,
    image_url    VARCHAR(2048) NULL,
    price_cents  BIGINT NOT NULL,
    quantity     BIGINT NOT NULL,
    amount_cents BIGINT NOT NULL,
    PRIMARY KEY (order_no, line),
    INDEX ix_order_items_product (product_id),
    CONSTRAINT fk_order_items_order FOREIGN KEY (order_no) REFERENCES orders (order_no)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_unicode_520_ci;

CREATE TABLE payments (
    payment_no   CHAR(26) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
    order_no     CHAR(26) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    provider     VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    status       VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    amount_cents BIGINT NOT NULL,
    currency     CHAR(3) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    created_at   BIGINT NOT NULL,
    INDEX ix_payments_order (order_no),
    CONSTRAINT fk_payments_order FOREIGN KEY (order_no) REFERENCES orders (order_no)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_unicode_520_ci;
