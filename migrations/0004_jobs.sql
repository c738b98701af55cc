-- What is still to be done. A row is written in the transaction that causes it.
CREATE TABLE jobs (
    id         BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    queue      VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    -- queued, leased or dead.
    state      VARCHAR(8) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    -- When a worker may take it: later while it waits or is leased, never if it is dead.
    due_at     BIGINT NOT NULL,
    attempts   INT NOT NULL DEFAULT 0,
    payload    TEXT NOT NULL,
    last_error VARCHAR(500) NULL,
    created_at BIGINT NOT NULL,
    INDEX ix_jobs_due (queue, due_at)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_unicode_520_ci;

-- How an order came to its state.
CREATE TABLE order_log (
    id          BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    order_no    CHAR(26) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    -- Null for the order's beginning.
    from_status VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NULL,
    to_status   VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    cause       VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    -- What somebody said of it.
    reason      VARCHAR(200) NULL,
    -- user, admin or shop.
    actor       VARCHAR(8) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    -- Null for the shop itself.
    user_id     BIGINT NULL,
    created_at  BIGINT NOT NULL,
    INDEX ix_order_log_order (order_no, id),
    CONSTRAINT fk_order_log_order FOREIGN KEY (order_no) REFERENCES orders (order_no)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_unicode_520_ci;

CREATE TABLE refunds (
    refund_no     CHAR(26) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
    order_no      CHAR(26) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    -- The payment that is given back.
    payment_no    CHAR(26) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    status        VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    amount_cents  BIGINT NOT NULL,
    reason        VARCHAR(200) NOT NULL,
    reject_reason VARCHAR(200) NULL,
    created_at    BIGINT NOT NULL,
    -- When it succeeded or was rejected.
    settled_at    BIGINT NULL,
    INDEX ix_refunds_order (order_no),
    CONSTRAINT fk_refunds_order FOREIGN KEY (order_no) REFERENCES orders (order_no),
    CONSTRAINT fk_refunds_payment FOREIGN KEY (payment_no) REFERENCES payments (payment_no)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_unicode_520_ci;

-- The order's last refund, if there is one.
ALTER TABLE orders ADD COLUMN refund_no CHAR(26) CHARACTER SET ascii COLLATE ascii_bin NULL;

-- What the shop told its users.
CREATE TABLE messages (
    id         BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    user_id    BIGINT NOT NULL,
    -- The job that made it: made once, whatever happens to the worker.
    job_id     BIGINT NOT NULL,
    kind       VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    order_no   CHAR(26) CHARACTER SET ascii COLLATE ascii_bin NULL,
    subject    VARCHAR(200) NOT NULL,
    body       TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    -- When it went out by e-mail as well.
    sent_at    BIGINT NULL,
    UNIQUE INDEX ux_messages_job (job_id),
    INDEX ix_messages_user (user_id, id),
    CONSTRAINT fk_messages_user FOREIGN KEY (user_id) REFERENCES users (id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_unicode_520_ci;

-- Orders from before there were jobs.
INSERT INTO order_log (order_no, to_status, cause, actor, user_id, created_at)
SELECT order_no, 'pending', 'placed', 'user', user_id, created_at FROM orders;

INSERT INTO jobs (queue, state, due_at, payload, created_at)
SELECT 'timer', 'queued', expires_at, CONCAT('{"order_no":"', order_no, '"}'), created_at
FROM orders WHERE status = 'pending';

INSERT INTO jobs (queue, state, due_at, payload, created_at)
SELECT 'fulfil', 'queued', paid_at, CONCAT('{"do":"ship","order_no":"', order_no, '"}'), paid_at
FROM orders WHERE status = 'paid';
