-- What a user may do who is no admin, as bits: see kit::staff.
ALTER TABLE users ADD COLUMN permissions SMALLINT NOT NULL DEFAULT 0;

-- What the staff did, each entry written in the transaction of its deed.
CREATE TABLE audit_log (
    id          BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    actor_id    BIGINT NOT NULL,
    -- What was done, such as product.update.
    action      VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    -- To which of them.
    object      VARCHAR(64) NOT NULL,
    -- JSON; `null` where there was, or is, nothing.
    before_json MEDIUMTEXT NOT NULL,
    after_json  MEDIUMTEXT NOT NULL,
    request_id  VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    created_at  BIGINT NOT NULL,
    INDEX ix_audit_log_actor (actor_id, id),
    INDEX ix_audit_log_action (action, id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_unicode_520_ci;

-- A session can be told from another by what it was begun with.
ALTER TABLE sessions
    ADD COLUMN user_agent VARCHAR(200) NULL,
    ADD COLUMN address VARCHAR(64) NULL,
    ADD COLUMN refreshed_at BIGINT NULL;

-- By SHA-256, like refresh tokens.
CREATE TABLE password_resets (
    hash       BINARY(32) NOT NULL PRIMARY KEY,
    user_id    BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    INDEX ix_password_resets_user (user_id),
    CONSTRAINT fk_password_resets_user FOREIGN KEY (user_id) REFERENCES users (id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_unicode_520_ci;

-- Who a user is elsewhere: the issuer's own name for them (OpenID Connect `sub`).
CREATE TABLE identities (
    provider   VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    subject    VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    user_id    BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (provider, subject),
    UNIQUE uq_identities_user (user_id, provider),
    CONSTRAINT fk_identities_user FOREIGN KEY (user_id) REFERENCES users (id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_unicode_520_ci;
