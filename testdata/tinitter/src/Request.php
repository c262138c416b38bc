<?php

declare(strict_types=1);

namespace Tinitter;

/** One HTTP request as values; nothing below the front controller reads the superglobals. */
final class Request
{
    /**
     * @param array<mixed>         $query
     * @param array<mixed>         $form
     * @param array<mixed>         $cookies
     * @param array<string, mixed> $server
     */
    public function __construct(
        public readonly string $method,
        public readonly string $path,
        private readonly array $query = [],
        private readonly array $form = [],
        private readonly array $cookies = [],
        private readonly array $server = [],
    ) {
    }

    public static function fromGlobals(): self
    {
        $target = (string) ($_SERVER['REQUEST_URI'] ?? '/');
        $path = rawurldecode(explode('?', $target, 2)[0]);

        return new self((string) ($_SERVER['REQUEST_METHOD'] ?? 'GET'), $path === '' ? '/' : $path, $_GET, $_POST, $_COOKIE, $_SERVER);
    }

    /** A form field; '' when it is missing or was sent as a list. */
    public function field(string $name): string
    {
        return self::text($this->form, $name);
    }

    public function query(string $name): string
    {
        return self::text($this->query, $name);
    }

    public function cookie(string $name): string
    {
        return self::text($this->cookies, $name);
    }

    /** Whether the browser's own connection is encrypted, the balancer's word included. */
    public function secure(): bool
    {
        $https = strtolower(self::text($this->server, 'HTTPS'));

        return ($https !== '' && $https !== 'off') || strtolower(self::text($this->server, 'HTTP_X_FORWARDED_PROTO')) === 'https';
    }

    /** @param array<mixed> $from */
    private static function text(array $from, string $name): string
    {
        $value = $from[$name] ?? '';

        return is_string($value) ? $value : '';
    }
}
