-- What is taken off for everybody while it runs.
CREATE TABLE promotions (
    id         BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    name       VARCHAR(64) NOT NULL,
    -- What it takes off, and of what, as JSON.
    rule       TEXT NOT NULL,
    exclusive  TINYINT(1) NOT NULL,
    priority   INT NOT NULL,
    starts_at  BIGINT NULL,
    ends_at    BIGINT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    INDEX ix_promotions_ends (ends_at)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_unicode_520_ci;

-- What is taken off for those who name the code.
CREATE TABLE coupons (
    id             BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    -- In capitals: it is the same code in any case. Null once it was withdrawn, so that the code is free again.
    code           VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NULL,
    name           VARCHAR(64) NOT NULL,
    rule           TEXT NOT NULL,
    -- Null is no limit.
    total_limit    BIGINT NULL,
    per_user_limit BIGINT NOT NULL,
    -- The rows of user_coupons, counted under this row's lock.
    taken          BIGINT NOT NULL DEFAULT 0,
    starts_at      BIGINT NULL,
    ends_at        BIGINT NULL,
    created_at     BIGINT NOT NULL,
    updated_at     BIGINT NOT NULL,
    CONSTRAINT uq_coupons_code UNIQUE (code),
    CONSTRAINT ck_coupons_taken CHECK (taken >= 0)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_unicode_520_ci;

-- What users have claimed or used. Each row counts towards both limits.
CREATE TABLE user_coupons (
    id         BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    coupon_id  BIGINT NOT NULL,
    user_id    BIGINT NOT NULL,
    -- Null if it was taken by the order that uses it: without that it was never there.
    claimed_at BIGINT NULL,
    -- The order that uses it; null while none does.
    order_no   CHAR(26) CHARACTER SET ascii COLLATE ascii_bin NULL,
    used_at    BIGINT NULL,
    INDEX ix_user_coupons_coupon (coupon_id, user_id),
    INDEX ix_user_coupons_user (user_id, id),
    CONSTRAINT uq_user_coupons_order UNIQUE (order_no),
    CONSTRAINT fk_user_coupons_coupon FOREIGN KEY (coupon_id) REFERENCES coupons (id),
    CONSTRAINT fk_user_coupons_user FOREIGN KEY (user_id) REFERENCES users (id),
    CONSTRAINT fk_user_coupons_order FOREIGN KEY (order_no) REFERENCES orders (order_no)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_unicode_520_ci;

-- The line's part of the order's discounts.
ALTER TABLE order_items ADD COLUMN discount_cents BIGINT NOT NULL DEFAULT 0;
