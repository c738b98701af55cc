-- Addresses from before this column count as verified, and so do those that functions from before it write.
ALTER TABLE users
    ADD COLUMN email_verified TINYINT(1) NOT NULL DEFAULT 1,
    -- While it is set, the user can't sign in.
    ADD COLUMN suspended_at BIGINT NULL,
    -- Only the row is left then: what belongs to it refers to it.
    ADD COLUMN deleted_at BIGINT NULL;

-- Tokens by which users show that an address is theirs: by SHA-256, like those for resetting a password.
CREATE TABLE email_verifications (
    hash       BINARY(32) NOT NULL PRIMARY KEY,
    user_id    BIGINT NOT NULL,
    -- It verifies this address alone.
    email      VARCHAR(254) NOT NULL,
    expires_at BIGINT NOT NULL,
    INDEX ix_email_verifications_user (user_id),
    INDEX ix_email_verifications_expires (expires_at),
    CONSTRAINT fk_email_verifications_user FOREIGN KEY (user_id) REFERENCES users (id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_unicode_520_ci;

-- Addresses that are still to be told that they were replaced.
CREATE TABLE former_emails (
    id      BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    user_id BIGINT NOT NULL,
    email   VARCHAR(254) NOT NULL,
    INDEX ix_former_emails_user (user_id),
    CONSTRAINT fk_former_emails_user FOREIGN KEY (user_id) REFERENCES users (id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_unicode_520_ci;

-- A number for each identity, to name it by. Functions from before it get one, too.
ALTER TABLE identities
    ADD COLUMN id BIGINT AUTO_INCREMENT,
    ADD INDEX ix_identities_id (id);

-- What the staff did to one user.
ALTER TABLE audit_log ADD INDEX ix_audit_log_object (object);
