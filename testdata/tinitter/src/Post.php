<?php

declare(strict_types=1);

namespace Tinitter;

final class Post
{
    public function __construct(
        public readonly int $id,
        public readonly string $name,
        public readonly string $body,
        public readonly string $host,
        public readonly int $createdAt,
    ) {
    }
}
