<?php

declare(strict_types=1);

namespace Tinitter;

final class Response
{
    /** @var list<array{string, string, array<string, mixed>}> */
    private array $cookies = [];

    /** @param array<string, string> $headers */
    public function __construct(
        public readonly int $status,
        public readonly string $body = '',
        private array $headers = [],
    ) {
    }

    public static function html(string $body, int $status = 200): self
    {
        // Forms carry a token made for one browser, so no cache may hand a page to another.
        return new self($status, $body, ['Content-Type' => 'text/html; charset=UTF-8', 'Cache-Control' => 'private, no-store']);
    }

    public static function text(string $body, int $status = 200): self
    {
        return new self($status, $body . "\n", ['Content-Type' => 'text/plain; charset=UTF-8', 'Cache-Control' => 'no-store']);
    }

    /** @param array<string, mixed> $value */
    public static function json(array $value, int $status = 200): self
    {
        $body = json_encode($value, JSON_UNESCAPED_UNICODE | JSON_UNESCAPED_SLASHES | JSON_INVALID_UTF8_SUBSTITUTE | JSON_THROW_ON_ERROR);

        return new self($status, $body . "\n", ['Content-Type' => 'application/json', 'Cache-Control' => 'no-store']);
    }

    /** After a POST: the browser follows with GET, and a reload posts nothing twice. */
    public static function seeOther(string $path): self
    {
        return new self(303, '', ['Location' => $path, 'Cache-Control' => 'no-store']);
    }

    public function with(string $header, string $value): self
    {
        $this->headers[$header] = $value;

        return $this;
    }

    public function header(string $name): string
    {
        return $this->headers[$name] ?? '';
    }

    public function cookie(string $name, string $value, int $seconds, bool $secure): self
    {
        $this->cookies[] = [$name, $value, [
            'expires' => time() + $seconds, 'path' => '/', 'secure' => $secure, 'httponly' => true, 'samesite' => 'Lax',
        ]];

        return $this;
    }

    /** @return array<string, string> name → value */
    public function cookies(): array
    {
        return array_column($this->cookies, 1, 0);
    }

    public function send(bool $withBody): void
    {
        http_response_code($this->status);
        header_remove('X-Powered-By');
        foreach ($this->headers as $name => $value) {
            header("$name: $value");
        }
        foreach ($this->cookies as [$name, $value, $options]) {
            setcookie($name, $value, $options);
        }
        header('Content-Length: ' . strlen($this->body));
        if ($withBody) {
            echo $this->body;
        }
    }
}
