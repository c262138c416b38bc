<?php

declare(strict_types=1);

namespace Tinitter;

/** What is deployed here: the label of the bundle, and what deploy/after_install.sh noted about the deployment. */
final class Release
{
    public function __construct(
        public readonly string $revision,
        public readonly string $deployment = '',
        public readonly string $group = '',
        public readonly int $at = 0,
    ) {
    }

    public static function read(string $root): self
    {
        $label = trim((string) @file_get_contents($root . '/REVISION'));
        $noted = [];
        foreach (@file($root . '/DEPLOYED', FILE_IGNORE_NEW_LINES) ?: [] as $line) {
            [$key, $value] = explode('=', $line, 2) + [1 => ''];
            $noted[$key] = self::clean($value);
        }
        $revision = self::clean($label);

        return new self($revision === '' ? 'unlabelled' : $revision, $noted['deployment'] ?? '', $noted['group'] ?? '', (int) ($noted['at'] ?? 0));
    }

    private static function clean(string $text): string
    {
        // It also goes into a header.
        return preg_replace('/[^\x20-\x7e]/', '', substr($text, 0, 120)) ?? '';
    }
}
