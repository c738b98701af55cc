-- Payments that wait for the customer: in which way, what there is to do, and where the customer goes afterwards.
ALTER TABLE payments
    ADD COLUMN flow VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NULL,
    -- JSON; null once the payment has settled.
    ADD COLUMN action TEXT NULL,
    ADD COLUMN return_url VARCHAR(2048) NULL;
