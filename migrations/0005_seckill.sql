-- Flash sales. Their units are set aside from the product's stock, where they count as reserved.
CREATE TABLE seckill_activities (
    id             BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    product_id     BIGINT NOT NULL,
    price_cents    BIGINT NOT NULL,
    -- Units set aside, and how many of them are in orders that stand.
    stock          BIGINT NOT NULL,
    booked         BIGINT NOT NULL DEFAULT 0,
    per_user_limit INT NOT NULL,
    starts_at      BIGINT NOT NULL,
    ends_at        BIGINT NOT NULL,
    -- When what was left went back to the product.
    closed_at      BIGINT NULL,
    created_at     BIGINT NOT NULL,
    INDEX ix_seckill_activities_open (closed_at, id),
    CONSTRAINT fk_seckill_activities_product FOREIGN KEY (product_id) REFERENCES products (id),
    CONSTRAINT ck_seckill_activities_booked CHECK (booked >= 0 AND booked <= stock)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_unicode_520_ci;

-- What became of a ticket that was drawn: each is booked once.
CREATE TABLE seckill_tickets (
    ticket      VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
    activity_id BIGINT NOT NULL,
    user_id     BIGINT NOT NULL,
    -- ordered or failed.
    status      VARCHAR(8) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    order_no    CHAR(26) CHARACTER SET ascii COLLATE ascii_bin NULL,
    -- Counts towards `booked`: its order was not cancelled, nor refunded.
    live        TINYINT(1) NOT NULL,
    created_at  BIGINT NOT NULL,
    INDEX ix_seckill_tickets_activity (activity_id, live),
    CONSTRAINT fk_seckill_tickets_activity FOREIGN KEY (activity_id) REFERENCES seckill_activities (id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_unicode_520_ci;

-- The ticket by which an order came about, if it came from a flash sale.
ALTER TABLE orders ADD COLUMN ticket VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NULL;
