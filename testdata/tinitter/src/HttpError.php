<?php

declare(strict_types=1);

namespace Tinitter;

/** An answer other than the one asked for; its message is shown to the visitor. */
final class HttpError extends \RuntimeException
{
    /** @param array<string, string> $headers */
    public function __construct(public readonly int $status, string $message, public readonly array $headers = [])
    {
        parent::__construct($message);
    }
}
