<?php

declare(strict_types=1);

namespace Tinitter;

/**
 * Form tokens without sessions. A token is an expiry and a MAC over that expiry and the visitor's cookie, so any host
 * with the same secret can check what another one issued, and a token taken from one browser is worth nothing in another.
 */
final class Csrf
{
    public const COOKIE = 'tinitter_form';

    /** @param list<string> $secrets the first signs, all are accepted (rotation) */
    public function __construct(private readonly array $secrets, private readonly int $lifetime)
    {
    }

    /** A fresh cookie value for a browser that has none. */
    public static function visitor(): string
    {
        return bin2hex(random_bytes(16));
    }

    public static function isVisitor(string $cookie): bool
    {
        return preg_match('/^[0-9a-f]{32}$/D', $cookie) === 1;
    }

    public function issue(string $visitor, int $now): string
    {
        $expiry = $now + $this->lifetime;

        return $expiry . '.' . self::mac($this->secrets[0], $visitor, $expiry);
    }

    /** Null when the token is good; else what to tell the visitor. */
    public function refuse(string $token, string $visitor, int $now): ?string
    {
        $forged = 'This form did not come from this site for this browser. Cookies must be allowed. Please try again.';
        if (!self::isVisitor($visitor) || preg_match('/^([1-9][0-9]{0,11})\.([0-9a-f]{64})$/D', $token, $part) !== 1) {
            return $forged;
        }
        $expiry = (int) $part[1];
        $good = false;
        foreach ($this->secrets as $secret) {
            $good = hash_equals(self::mac($secret, $visitor, $expiry), $part[2]) || $good;
        }

        return match (true) {
            !$good => $forged,
            $expiry < $now => 'The form was open for too long. Your text is still here: please post again.',
            default => null,
        };
    }

    private static function mac(string $secret, string $visitor, int $expiry): string
    {
        return hash_hmac('sha256', "post-form\0$visitor\0$expiry", $secret);
    }
}
