<?php

declare(strict_types=1);

namespace Tinitter;

/** What somebody typed into the form, cleaned, and what is wrong with it. */
final class Draft
{
    public const NAME_MAX = 30;
    public const BODY_MAX = 280;

    /** @param array<string, string> $errors field → message */
    private function __construct(public readonly string $name, public readonly string $body, public readonly array $errors)
    {
    }

    public static function blank(string $name = ''): self
    {
        return new self(mb_check_encoding($name, 'UTF-8') ? mb_substr($name, 0, self::NAME_MAX) : '', '', []);
    }

    public static function from(string $name, string $body): self
    {
        $errors = [];
        // Never show bytes that are not text again: they would make the page itself invalid.
        foreach (['name' => &$name, 'body' => &$body] as $field => &$text) {
            if (!mb_check_encoding($text, 'UTF-8')) {
                $errors[$field] = 'This is not valid UTF-8 text.';
                $text = '';
            }
            $text = self::trim(str_replace(["\r\n", "\r"], "\n", $text));
        }
        unset($text);
        $errors += self::check('name', $name, self::NAME_MAX, 'Please give a name.', '/[\p{Cc}\p{Zl}\p{Zp}\x{202A}-\x{202E}\x{2066}-\x{2069}]/u');
        $errors += self::check('body', $body, self::BODY_MAX, 'Please write something.', '/(?![\n\t])\p{Cc}/u');

        return new self($name, $body, $errors);
    }

    public function ok(): bool
    {
        return $this->errors === [];
    }

    /** @return array<string, string> */
    private static function check(string $field, string $text, int $max, string $empty, string $forbidden): array
    {
        $length = mb_strlen($text, 'UTF-8');

        return match (true) {
            $length === 0 => [$field => $empty],
            $length > $max => [$field => "At most $max characters; this has $length."],
            preg_match($forbidden, $text) === 1 => [$field => 'Control characters are not allowed.'],
            default => [],
        };
    }

    /** Takes off what looks empty at both ends, the ideographic and the zero-width space included. */
    private static function trim(string $text): string
    {
        return preg_replace('/^[\p{Z}\s\x{200B}\x{FEFF}]+|[\p{Z}\s\x{200B}\x{FEFF}]+$/u', '', $text) ?? '';
    }
}
