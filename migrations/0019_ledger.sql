-- The ledger: every movement of money. Rows are only ever inserted. Each is one debit and one credit of the same amount, so
-- debits equal credits.
CREATE TABLE ledger_transfers (
    transfer_id  BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    -- What happened, and to what: `capture:` and the payment's number, for example. It happens once.
    event        VARCHAR(48) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    -- Tells the transfers of one event apart.
    leg          TINYINT NOT NULL,
    -- Accounts.
    debit        VARCHAR(48) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    credit       VARCHAR(48) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    currency     CHAR(3) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    amount_cents BIGINT NOT NULL,
    order_no     CHAR(26) CHARACTER SET ascii COLLATE ascii_bin NULL,
    created_at   BIGINT NOT NULL,
    UNIQUE KEY uq_ledger_event (event, leg),
    INDEX ix_ledger_order (order_no),
    INDEX ix_ledger_created (created_at),
    CONSTRAINT ck_ledger_amount CHECK (amount_cents > 0),
    CONSTRAINT ck_ledger_accounts CHECK (debit <> credit)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_unicode_520_ci;

-- The sums of all transfers up to the checkpoint, so that a balance costs only those after it.
CREATE TABLE ledger_sums (
    account      VARCHAR(48) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    currency     CHAR(3) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    debit_cents  BIGINT NOT NULL,
    credit_cents BIGINT NOT NULL,
    PRIMARY KEY (account, currency)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_unicode_520_ci;

CREATE TABLE ledger_checkpoint (
    id          TINYINT NOT NULL PRIMARY KEY,
    -- The last transfer in `ledger_sums`.
    summed_id   BIGINT NOT NULL,
    -- The last transfer at the time `seen_at`: a while later, none before it can still be uncommitted.
    seen_id     BIGINT NOT NULL,
    seen_at     BIGINT NOT NULL
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_unicode_520_ci;
INSERT INTO ledger_checkpoint (id, summed_id, seen_id, seen_at) VALUES (1, 0, 0, 0);

-- When a payment succeeded or failed.
ALTER TABLE payments ADD COLUMN settled_at BIGINT NULL, ADD INDEX ix_payments_created (created_at);
