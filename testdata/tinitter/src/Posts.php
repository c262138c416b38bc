<?php

declare(strict_types=1);

namespace Tinitter;

use PDO;
use PDOStatement;

/** The posts table, newest first. Times are Unix seconds, so that hosts in other zones agree. */
final class Posts
{
    public function __construct(private readonly PDO $db)
    {
    }

    public function add(string $name, string $body, string $host, int $now): int
    {
        $this->run('INSERT INTO posts (name, body, host, created_at) VALUES (:name, :body, :host, :now)', [
            'name' => $name, 'body' => $body, 'host' => $host, 'now' => $now,
        ]);

        return (int) $this->db->lastInsertId();
    }

    public function count(?string $name = null): int
    {
        $where = $name === null ? '' : ' WHERE name = :name';

        return (int) $this->run("SELECT COUNT(*) FROM posts$where", $name === null ? [] : ['name' => $name])->fetchColumn();
    }

    /** @return list<Post> */
    public function page(int $limit, int $offset, ?string $name = null): array
    {
        $where = $name === null ? '' : ' WHERE name = :name';
        $rows = $this->run(
            "SELECT id, name, body, host, created_at FROM posts$where ORDER BY id DESC LIMIT :limit OFFSET :offset",
            ['limit' => $limit, 'offset' => $offset] + ($name === null ? [] : ['name' => $name]),
        );

        return array_map(self::post(...), $rows->fetchAll());
    }

    public function find(int $id): ?Post
    {
        $row = $this->run('SELECT id, name, body, host, created_at FROM posts WHERE id = :id', ['id' => $id])->fetch();

        return is_array($row) ? self::post($row) : null;
    }

    /** @param array<string, int|string> $values */
    private function run(string $sql, array $values): PDOStatement
    {
        $statement = $this->db->prepare($sql);
        foreach ($values as $name => $value) {
            $statement->bindValue($name, $value, is_int($value) ? PDO::PARAM_INT : PDO::PARAM_STR);
        }
        $statement->execute();

        return $statement;
    }

    /** @param array<string, mixed> $row */
    private static function post(array $row): Post
    {
        return new Post((int) $row['id'], (string) $row['name'], (string) $row['body'], (string) $row['host'], (int) $row['created_at']);
    }
}
