<?php

declare(strict_types=1);

use Tinitter\Config;
use Tinitter\Csrf;
use Tinitter\Database;
use Tinitter\Request;
use Tinitter\Response;
use Tinitter\Site;

/** What the tests are written with. */
final class Kit
{
    public const SECRET = 'a secret for tests, thirty-two characters or more';
    public const NOW = 1_780_000_000;

    /** @var array<string, Closure> */
    private static array $tests = [];
    /** @var list<Closure> undone after each test, last first */
    private static array $cleanup = [];

    public static function test(string $name, Closure $body): void
    {
        if (isset(self::$tests[$name])) {
            throw new LogicException("two tests are called '$name'");
        }
        self::$tests[$name] = $body;
    }

    public static function run(string $only): int
    {
        $passed = $failed = 0;
        foreach (self::$tests as $name => $body) {
            if ($only !== '' && !str_contains($name, $only)) {
                continue;
            }
            try {
                $body();
                $passed++;
            } catch (Throwable $problem) {
                $failed++;
                $at = basename($problem->getFile()) . ':' . $problem->getLine();
                foreach ($problem->getTrace() as $frame) {
                    if (str_ends_with($frame['file'] ?? '', '_test.php')) {
                        $at = basename($frame['file']) . ':' . $frame['line'];
                        break;
                    }
                }
                echo "FAIL $name ($at)\n     ", str_replace("\n", "\n     ", $problem->getMessage()), "\n";
            }
            while (self::$cleanup !== []) {
                array_pop(self::$cleanup)();
            }
        }
        if ($passed + $failed === 0) {
            echo "no test is called like '$only'\n";
            $failed = 1;
        }
        echo "$passed passed, $failed failed\n";

        return $failed === 0 ? 0 : 1;
    }

    public static function after(Closure $undo): void
    {
        self::$cleanup[] = $undo;
    }

    public static function same(mixed $want, mixed $got, string $what = 'value'): void
    {
        if ($want !== $got) {
            throw new RuntimeException("$what: want " . var_export($want, true) . ', got ' . var_export($got, true));
        }
    }

    public static function contains(string $part, string $whole): void
    {
        if (!str_contains($whole, $part)) {
            throw new RuntimeException("'$part' is not in:\n" . mb_strimwidth($whole, 0, 2000, '…'));
        }
    }

    public static function lacks(string $part, string $whole): void
    {
        if (str_contains($whole, $part)) {
            throw new RuntimeException("'$part' is in:\n" . mb_strimwidth($whole, 0, 2000, '…'));
        }
    }

    public static function throws(string $class, string $part, Closure $body): void
    {
        try {
            $body();
        } catch (Throwable $problem) {
            if (!$problem instanceof $class) {
                throw new RuntimeException("want $class, got " . $problem::class . ': ' . $problem->getMessage());
            }
            self::contains($part, $problem->getMessage());

            return;
        }
        throw new RuntimeException("want $class, nothing was thrown");
    }

    /** A scratch folder, gone after the test. World-searchable, so that the web user gets in. */
    public static function folder(): string
    {
        $dir = sys_get_temp_dir() . '/tinitter-test-' . bin2hex(random_bytes(6));
        mkdir($dir, 0755);
        self::after(static fn () => self::remove($dir));

        return $dir;
    }

    public static function remove(string $path): void
    {
        if (is_dir($path) && !is_link($path)) {
            foreach (array_diff(scandir($path), ['.', '..']) as $name) {
                self::remove("$path/$name");
            }
            rmdir($path);
        } else {
            unlink($path);
        }
    }

    /** @param array<string, mixed> $change */
    public static function config(string $data, array $change = []): Config
    {
        return Config::fromArray($change + [
            'dsn' => getenv('TINITTER_TEST_DSN') ?: "sqlite:$data/posts.sqlite3",
            'database_user' => (string) getenv('TINITTER_TEST_DB_USER'), 'database_password' => (string) getenv('TINITTER_TEST_DB_PASSWORD'),
            'secret' => self::SECRET, 'form_lifetime' => 600, 'per_page' => 3, 'data_dir' => $data,
        ]);
    }

    /** A configuration with an empty database made from the schema. @param array<string, mixed> $change */
    public static function ready(array $change = []): Config
    {
        $config = self::config(self::folder(), $change);
        Database::create($config, TINITTER . '/schema');
        Database::open($config)->exec('DELETE FROM posts');

        return $config;
    }

    /**
     * @param array<mixed> $query
     * @param array<mixed> $form
     * @param array<mixed> $cookies
     * @param array<string, mixed> $server
     */
    public static function ask(Config $config, string $method, string $path, array $query = [], array $form = [], array $cookies = [], array $server = [], int $now = self::NOW): Response
    {
        return (new Site(TINITTER, $config, $now))->answer(new Request($method, $path, $query, $form, $cookies, $server));
    }

    /** Posts through the site with a good token. */
    public static function write(Config $config, mixed $name, mixed $body): Response
    {
        $visitor = str_repeat('0a', 16);
        $token = (new Csrf([self::SECRET], 600))->issue($visitor, self::NOW);

        return self::ask($config, 'POST', '/posts', [], ['name' => $name, 'body' => $body, 'token' => $token], [Csrf::COOKIE => $visitor]);
    }

    /** Starts php -S on a free port and returns its address. @param array<string, string> $environment */
    public static function serve(string $docroot, string $script, array $environment = []): string
    {
        $probe = stream_socket_server('tcp://127.0.0.1:0');
        $address = stream_socket_get_name($probe, false);
        fclose($probe);
        $null = ['file', '/dev/null', 'w'];
        $process = proc_open(
            [PHP_BINARY, '-d', 'error_log=/dev/null', '-S', $address, '-t', $docroot, $script],
            [['file', '/dev/null', 'r'], $null, $null], $pipes, null, $environment + getenv(),
        );
        self::after(static function () use ($process): void {
            proc_terminate($process);
            proc_close($process);
        });
        for ($end = microtime(true) + 60; microtime(true) < $end; usleep(20_000)) {
            $connection = @stream_socket_client("tcp://$address", $code, $text, 1);
            if ($connection !== false) {
                fclose($connection);

                return "http://$address";
            }
        }
        throw new RuntimeException("php -S $address did not start");
    }

    /**
     * @param list<string> $headers
     * @param array<string, string>|null $form
     * @return array{int, array<string, list<string>>, string} status, headers by lower-case name, body
     */
    public static function http(string $method, string $url, array $headers = [], ?array $form = null): array
    {
        if ($form !== null) {
            $headers[] = 'Content-Type: application/x-www-form-urlencoded';
        }
        $stream = fopen($url, 'r', false, stream_context_create(['http' => [
            'method' => $method, 'header' => $headers, 'content' => $form === null ? '' : http_build_query($form),
            'follow_location' => 0, 'ignore_errors' => true, 'timeout' => 60,
        ]]));
        $lines = stream_get_meta_data($stream)['wrapper_data'];
        $body = stream_get_contents($stream);
        fclose($stream);
        $got = [];
        foreach (array_slice($lines, 1) as $line) {
            [$name, $value] = explode(':', $line, 2);
            $got[strtolower($name)][] = trim($value);
        }

        return [(int) explode(' ', $lines[0])[1], $got, $body];
    }

    /**
     * Runs a command with exactly this environment added.
     *
     * @param list<string> $command
     * @param array<string, string> $environment
     * @return array{int, string} exit status, both outputs
     */
    public static function command(array $command, array $environment = []): array
    {
        $process = proc_open($command, [['file', '/dev/null', 'r'], ['pipe', 'w'], ['redirect', 1]], $pipes, null, $environment + getenv());
        $output = stream_get_contents($pipes[1]);

        return [proc_close($process), $output];
    }
}

function test(string $name, Closure $body): void
{
    Kit::test($name, $body);
}
