CREATE TABLE IF NOT EXISTS posts (
    id         BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
    name       VARCHAR(30)     NOT NULL,
    body       VARCHAR(280)    NOT NULL,
    host       VARCHAR(128)    NOT NULL DEFAULT '',
    created_at BIGINT          NOT NULL,
    KEY posts_by_name (name, id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;
