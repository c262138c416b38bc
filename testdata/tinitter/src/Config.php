<?php

declare(strict_types=1);

namespace Tinitter;

/** The settings of config.php, checked once. */
final class Config
{
    /** @param list<string> $secrets the first signs, all are accepted */
    public function __construct(
        public readonly string $dsn,
        public readonly string $databaseUser,
        public readonly string $databasePassword,
        public readonly array $secrets,
        public readonly int $formLifetime,
        public readonly string $timeZone,
        public readonly int $perPage,
        public readonly string $metadataEndpoint,
        public readonly string $dataDir,
    ) {
    }

    /** @throws ConfigError that names the file and the key */
    public static function load(string $file): self
    {
        if (!is_file($file)) {
            throw new ConfigError("$file is missing: copy config.php.sample to it");
        }
        $values = require $file;
        if (!is_array($values)) {
            throw new ConfigError("$file returns no array");
        }

        return self::fromArray($values, $file);
    }

    /** @param array<mixed> $v */
    public static function fromArray(array $v, string $file = 'config.php'): self
    {
        $text = static function (string $key, ?string $default = null) use ($v, $file): string {
            $value = $v[$key] ?? $default;
            if (!is_string($value)) {
                throw new ConfigError("$file: '$key' must be a string");
            }

            return $value;
        };
        $number = static function (string $key, int $min, int $max) use ($v, $file): int {
            $value = $v[$key] ?? null;
            if (!is_int($value) || $value < $min || $value > $max) {
                throw new ConfigError("$file: '$key' must be a whole number from $min to $max");
            }

            return $value;
        };
        $dsn = $text('dsn');
        if (!str_starts_with($dsn, 'sqlite:') && !str_starts_with($dsn, 'mysql:')) {
            throw new ConfigError("$file: 'dsn' must begin with sqlite: or mysql:");
        }
        $secrets = array_values(array_filter([$text('secret'), $text('previous_secret', '')], static fn (string $s): bool => $s !== ''));
        foreach ($secrets as $secret) {
            if (strlen($secret) < 32) {
                throw new ConfigError("$file: 'secret' needs 32 characters or more; every host behind one balancer needs the same one");
            }
        }
        if ($secrets === []) {
            throw new ConfigError("$file: 'secret' is empty; deploy/after_install.sh makes one");
        }
        $zone = $text('timezone', 'Asia/Tokyo');
        if (!in_array($zone, timezone_identifiers_list(), true)) {
            throw new ConfigError("$file: 'timezone' $zone is not known");
        }

        return new self(
            $dsn, $text('database_user', ''), $text('database_password', ''), $secrets, $number('form_lifetime', 1, 604800),
            $zone, $number('per_page', 1, 100), rtrim($text('metadata_endpoint', ''), '/'), rtrim($text('data_dir'), '/'),
        );
    }
}
