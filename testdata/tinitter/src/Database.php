<?php

declare(strict_types=1);

namespace Tinitter;

use PDO;

final class Database
{
    /**
     * Opens the configured database. A missing SQLite file is an error and is not created:
     * an empty one would look healthy and swallow what is posted.
     */
    public static function open(Config $config, bool $create = false): PDO
    {
        $options = [
            PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION,
            PDO::ATTR_DEFAULT_FETCH_MODE => PDO::FETCH_ASSOC,
            PDO::ATTR_EMULATE_PREPARES => false,
        ];
        if (self::isSqlite($config)) {
            $options[PDO::SQLITE_ATTR_OPEN_FLAGS] = $create ? PDO::SQLITE_OPEN_READWRITE | PDO::SQLITE_OPEN_CREATE : PDO::SQLITE_OPEN_READWRITE;
            $db = new PDO($config->dsn, null, null, $options);
            $db->exec('PRAGMA busy_timeout = 5000');

            return $db;
        }
        // For MySQL this bounds the connection attempt, so that a lost database is an answer and not a hang.
        $options[PDO::ATTR_TIMEOUT] = 2;

        return new PDO($config->dsn, $config->databaseUser, $config->databasePassword, $options);
    }

    /** Brings an empty database to the schema; harmless on one that has it. */
    public static function create(Config $config, string $schemaDir): void
    {
        $sqlite = self::isSqlite($config);
        $file = $schemaDir . ($sqlite ? '/sqlite.sql' : '/mysql.sql');
        $sql = file_get_contents($file);
        if ($sql === false) {
            throw new \RuntimeException("read $file");
        }
        $db = self::open($config, true);
        foreach (array_filter(array_map('trim', explode(";\n", $sql))) as $statement) {
            // PRAGMA answers with a row, which has to be read before the next statement.
            $db->query($statement)->fetchAll();
        }
    }

    /** Reads from the table that the site lives by; throws when it cannot. */
    public static function check(Config $config): void
    {
        self::open($config)->query('SELECT id FROM posts ORDER BY id DESC LIMIT 1')->fetchAll();
    }

    private static function isSqlite(Config $config): bool
    {
        return str_starts_with($config->dsn, 'sqlite:');
    }
}
