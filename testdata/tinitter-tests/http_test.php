<?php

declare(strict_types=1);

use Tinitter\Csrf;

// The site behind PHP's own web server: what the parts above do together, over the wire.

/** A copy of the tree with settings of its own. @param array<string, mixed> $config */
$installed = static function (?array $config): string {
    $tree = Kit::folder() . '/Tinitter';
    Kit::same([0, ''], Kit::command(['cp', '-a', TINITTER, $tree]));
    if ($config !== null) {
        copy("$tree/config.php.sample", "$tree/config.php");
        file_put_contents("$tree/config.local.php", '<?php return ' . var_export($config, true) . ';');
    }

    return $tree;
};
$started = static fn (string $tree): string => Kit::serve("$tree/htdocs", "$tree/htdocs/index.php");
$settings = static function (): array {
    $config = Kit::ready();

    return ['dsn' => $config->dsn, 'secret' => Kit::SECRET, 'data_dir' => $config->dataDir, 'metadata_endpoint' => '',
        'database_user' => $config->databaseUser, 'database_password' => $config->databasePassword];
};

test('http: pages, assets, and what is not for the public', function () use ($installed, $started, $settings): void {
    $site = $started($installed($settings()));
    [$status, $headers, $body] = Kit::http('GET', "$site/");
    Kit::same([200, ['text/html; charset=UTF-8'], [(string) strlen($body)]], [$status, $headers['content-type'], $headers['content-length']]);
    Kit::same(false, isset($headers['x-powered-by']));
    Kit::contains('HttpOnly; SameSite=Lax', $headers['set-cookie'][0]);
    Kit::same(200, Kit::http('GET', "$site/assets/style.css?v=v1")[0]);
    foreach (['/config.php', '/../config.php', '/.htaccess.sample', '/%2e%2e/config.local.php', '/assets/../index.php/x', '//example.org/'] as $path) {
        [$status, , $body] = Kit::http('GET', $site . $path);
        Kit::same(404, $status, $path);
        Kit::lacks(Kit::SECRET, $body);
    }
});
test('http: /health to GET and HEAD', function () use ($installed, $started, $settings): void {
    $site = $started($installed($settings()));
    [$status, $headers, $body] = Kit::http('GET', "$site/health?x=1");
    Kit::same([200, "ok\n", ['no-store'], ['text/plain; charset=UTF-8']], [$status, $body, $headers['cache-control'], $headers['content-type']]);
    Kit::same(false, isset($headers['set-cookie']) || isset($headers['location']));
    [$status, $headers, $body] = Kit::http('HEAD', "$site/health");
    Kit::same([200, '', ['3']], [$status, $body, $headers['content-length']]);
    [$status, $headers] = Kit::http('PUT', "$site/health");
    Kit::same([405, ['GET, HEAD']], [$status, $headers['allow']]);
});
test('http: a form loaded from one host is posted to another, with no session', function () use ($installed, $started, $settings): void {
    $shared = $settings();
    $one = $started($installed($shared));
    $two = $started($installed(['data_dir' => Kit::folder()] + $shared));
    [, $headers, $page] = Kit::http('GET', "$one/");
    preg_match('/name="token" value="([^"]+)"/', $page, $token);
    preg_match('/' . Csrf::COOKIE . '=[0-9a-f]+/', $headers['set-cookie'][0], $cookie);
    $form = ['token' => $token[1], 'name' => '花子', 'body' => '二台目へ & <b>'];
    [$status, $headers] = Kit::http('POST', "$two/posts", ["Cookie: $cookie[0]"], $form);
    Kit::same([303, ['/?posted=1']], [$status, $headers['location']]);
    Kit::contains('二台目へ &amp; &lt;b&gt;', Kit::http('GET', "$one/")[2]);
    Kit::same(403, Kit::http('POST', "$two/posts", [], $form)[0], 'without the cookie');
    $other = $started($installed(['secret' => str_repeat('z', 40)] + $shared));
    Kit::same(403, Kit::http('POST', "$other/posts", ["Cookie: $cookie[0]"], $form)[0], 'a host with another secret');
});
test('http: a host without settings says so to the log and not to the world', function () use ($installed, $started): void {
    $tree = $installed(null);
    $site = $started($tree);
    foreach (['/health' => 503, '/' => 500] as $path => $want) {
        [$status, , $body] = Kit::http('GET', $site . $path);
        Kit::same([$want, "not configured: see the error log of the web server\n"], [$status, $body]);
    }
});
