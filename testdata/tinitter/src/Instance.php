<?php

declare(strict_types=1);

namespace Tinitter;

/**
 * Which instance is this? Asked of the metadata service (version 2, short timeouts) once per boot; a hook may have written
 * the answer already. Both notes carry the boot id: one that was baked into an image is another instance's and is not believed.
 */
final class Instance
{
    public const UNKNOWN = 'unknown';
    private const RETRY_SECONDS = 60;

    public function __construct(
        private readonly string $endpoint,
        private readonly string $dataDir,
        private readonly string $bootIdFile = '/proc/sys/kernel/random/boot_id',
        private readonly float $timeout = 0.3, // seconds, for each of the two questions
    ) {
    }

    public function id(int $now): string
    {
        $boot = trim((string) @file_get_contents($this->bootIdFile));
        $written = $this->note($this->dataDir . '/instance-id');
        if ($written !== null && $written[1] === $boot) {
            return $written[0];
        }
        $cache = $this->dataDir . '/cache/instance-id';
        $cached = $this->note($cache);
        if ($cached !== null && $cached[1] === $boot && ($cached[0] !== self::UNKNOWN || abs($now - $cached[2]) < self::RETRY_SECONDS)) {
            return $cached[0];
        }
        $id = $this->ask();
        $this->keep($cache, "$id\n$boot\n$now\n");

        return $id;
    }

    /** @return array{string, string, int}|null id, boot id, time */
    private function note(string $file): ?array
    {
        $lines = @file($file, FILE_IGNORE_NEW_LINES);
        if ($lines === false || !isset($lines[0], $lines[1]) || !self::plausible($lines[0])) {
            return null;
        }

        return [$lines[0], trim($lines[1]), (int) ($lines[2] ?? 0)];
    }

    private function ask(): string
    {
        if ($this->endpoint === '') {
            return self::UNKNOWN;
        }
        $token = $this->call('PUT', '/latest/api/token', 'X-aws-ec2-metadata-token-ttl-seconds: 60');
        if ($token === null || preg_match('/^[\x21-\x7e]+$/D', $token) !== 1) {
            return self::UNKNOWN;
        }
        $id = trim((string) $this->call('GET', '/latest/meta-data/instance-id', "X-aws-ec2-metadata-token: $token"));

        return self::plausible($id) ? $id : self::UNKNOWN;
    }

    private function call(string $method, string $path, string $header): ?string
    {
        $context = stream_context_create(['http' => [
            'method' => $method, 'header' => [$header, 'Content-Length: 0', 'Connection: close'],
            'timeout' => $this->timeout, 'follow_location' => 0, 'ignore_errors' => true,
        ]]);
        $stream = @fopen($this->endpoint . $path, 'r', false, $context);
        if ($stream === false) {
            return null;
        }
        $status = (string) (stream_get_meta_data($stream)['wrapper_data'][0] ?? '');
        $body = stream_get_contents($stream, 4096);
        fclose($stream);

        return $body !== false && preg_match('~^HTTP/\S+ 200\b~', $status) === 1 ? $body : null;
    }

    private function keep(string $file, string $text): void
    {
        // The cache only saves time, so a folder that cannot be written is no error.
        $temporary = $file . '.' . getmypid();
        if ((is_dir(dirname($file)) || @mkdir(dirname($file), 0750)) && @file_put_contents($temporary, $text) !== false) {
            @rename($temporary, $file);
        }
    }

    private static function plausible(string $id): bool
    {
        return preg_match('~^[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}$~D', $id) === 1;
    }
}
