<?php

declare(strict_types=1);

namespace Tinitter;

use DateTimeImmutable;
use DateTimeZone;

/** Renders templates/*.php. In a template, $e() escapes and is the only way for text to reach the page. */
final class View
{
    /** @param array<string, mixed> $shared values every template sees */
    public function __construct(private readonly string $dir, private readonly DateTimeZone $zone, private array $shared = [])
    {
    }

    public static function escape(string|int $text): string
    {
        return htmlspecialchars((string) $text, ENT_QUOTES | ENT_SUBSTITUTE | ENT_HTML5, 'UTF-8');
    }

    /** @param array<string, mixed> $values */
    public function share(array $values): void
    {
        $this->shared = $values + $this->shared;
    }

    /** @param array<string, mixed> $values */
    public function page(string $template, array $values = []): string
    {
        return $this->render('layout', ['content' => $this->render($template, $values)] + $values);
    }

    /** @param array<string, mixed> $values */
    public function render(string $template, array $values = []): string
    {
        return (function (string $__file, array $__values): string {
            extract($__values, EXTR_SKIP);
            ob_start();
            try {
                require $__file;
            } finally {
                $text = (string) ob_get_clean();
            }

            return $text;
        })->bindTo(null, null)($this->dir . "/$template.php", $values + $this->shared + [
            'e' => self::escape(...),
            'when' => fn (int $at): string => $this->clock($at)->format('j M Y, H:i'),
            'stamp' => fn (int $at): string => $this->clock($at)->format('c'),
            'render' => $this->render(...),
        ]);
    }

    private function clock(int $at): DateTimeImmutable
    {
        return (new DateTimeImmutable("@$at"))->setTimezone($this->zone);
    }
}
