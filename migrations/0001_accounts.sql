-- Times are BIGINT milliseconds since 1970, money BIGINT minor units: Spin reads neither DATETIME nor DECIMAL.

CREATE TABLE users (
    id            BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    username      VARCHAR(32) NOT NULL,
    password_hash VARCHAR(255) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    email         VARCHAR(254) NULL,
    nickname      VARCHAR(64) NULL,
    role          VARCHAR(16) NOT NULL DEFAULT 'user',
    created_at    BIGINT NOT NULL,
    -- The collation compares without regard to case.
    CONSTRAINT uq_username UNIQUE (username)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_unicode_520_ci;

CREATE TABLE sessions (
    id         BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    user_id    BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    ended_at   BIGINT NULL,
    INDEX ix_sessions_user (user_id),
    CONSTRAINT fk_sessions_user FOREIGN KEY (user_id) REFERENCES users (id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_unicode_520_ci;

-- Every refresh token that a session ever had, by SHA-256: one that comes a second time was stolen.
CREATE TABLE refresh_tokens (
    hash       BINARY(32) NOT NULL PRIMARY KEY,
    session_id BIGINT NOT NULL,
    used_at    BIGINT NULL,
    INDEX ix_refresh_tokens_session (session_id),
    CONSTRAINT fk_refresh_tokens_session FOREIGN KEY (session_id) REFERENCES sessions (id) ON DELETE CASCADE
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_unicode_520_ci;

CREATE TABLE addresses (
    id         BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    user_id    BIGINT NOT NULL,
    receiver   VARCHAR(200) NOT NULL,
    phone      VARCHAR(20) NOT NULL,
    region     VARCHAR(200) NOT NULL,
    detail     VARCHAR(200) NOT NULL,
    is_default TINYINT(1) NOT NULL DEFAULT 0,
    INDEX ix_addresses_user (user_id),
    CONSTRAINT fk_addresses_user FOREIGN KEY (user_id) REFERENCES users (id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_unicode_520_ci;

-- A request that came with an Idempotency-Key: claimed before its work, filled with the reply in the work's transaction.
CREATE TABLE idempotency_keys (
    user_id         BIGINT NOT NULL,
    -- Method and path.
    scope           VARCHAR(200) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    idempotency_key VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    -- Whose claim it is: a request that lost it must not write its reply.
    claim           CHAR(22) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    body_hash       BINARY(32) NOT NULL,
    claimed_at      BIGINT NOT NULL,
    status          SMALLINT NULL,
    reply           MEDIUMBLOB NULL,
    PRIMARY KEY (user_id, scope, idempotency_key),
    INDEX ix_idempotency_keys_claimed (claimed_at)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_unicode_520_ci;
