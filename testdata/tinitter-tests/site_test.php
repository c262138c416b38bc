<?php

declare(strict_types=1);

use Tinitter\Csrf;
use Tinitter\Database;
use Tinitter\Instance;
use Tinitter\Posts;

test('site: an empty timeline has the form and sets the cookie that its token belongs to', function (): void {
    $response = Kit::ask(Kit::ready(), 'GET', '/');
    Kit::same(200, $response->status);
    Kit::contains('Nothing here yet', $response->body);
    Kit::same('private, no-store', $response->header('Cache-Control'));
    preg_match('/name="token" value="([^"]+)"/', $response->body, $token);
    Kit::same(null, (new Csrf([Kit::SECRET], 1))->refuse($token[1], $response->cookies()[Csrf::COOKIE], Kit::NOW));
});
test('site: a browser that has the cookie keeps it', function (): void {
    $response = Kit::ask(Kit::ready(), 'GET', '/', [], [], [Csrf::COOKIE => str_repeat('0a', 16)]);
    Kit::same([], $response->cookies());
});
test('site: posting stores, redirects, and remembers the name', function (): void {
    $config = Kit::ready();
    $response = Kit::write($config, '太郎', "こんにちは\nworld");
    Kit::same([303, '/?posted=1'], [$response->status, $response->header('Location')]);
    Kit::same(['tinitter_name' => '太郎'], $response->cookies());
    $page = Kit::ask($config, 'GET', '/', ['posted' => '1'])->body;
    Kit::contains("こんにちは\nworld", $page);
    Kit::contains('Posted.', $page);
    Kit::contains('29 May 2026, 05:26', $page); // 1 780 000 000 in Tokyo
});
test('site: what people write is never markup', function (): void {
    $config = Kit::ready();
    $evil = '<script>alert(1)</script>';
    Kit::same(303, Kit::write($config, '"><b x=\'', $evil)->status);
    foreach ([['/', []], ['/author', ['name' => '"><b x=\'']], ['/posts/' . (new Posts(Database::open($config)))->page(1, 0)[0]->id, []]] as [$path, $query]) {
        $page = Kit::ask($config, 'GET', $path, $query)->body;
        Kit::lacks($evil, $page);
        Kit::lacks('<b x=', $page);
        Kit::contains('&lt;script&gt;alert(1)&lt;/script&gt;', $page);
    }
    // Shown again in the form, in an attribute and in a textarea.
    $page = Kit::write($config, '" autofocus onfocus="x', str_repeat('</textarea><script>', 20))->body;
    Kit::lacks('" autofocus', $page);
    Kit::lacks('</textarea><script>', $page);
    $page = Kit::ask($config, 'GET', '/author', ['name' => '<img src=x onerror=y>'])->body;
    Kit::lacks('<img src=x', $page);
    Kit::lacks('<script>', Kit::ask($config, 'GET', '/<script>')->body);
});
test('site: a page forbids foreign scripts and frames', function (): void {
    $policy = Kit::ask(Kit::ready(), 'GET', '/')->header('Content-Security-Policy');
    Kit::contains("default-src 'none'", $policy);
    Kit::contains("frame-ancestors 'none'", $policy);
    Kit::lacks('unsafe', $policy);
});
test('site: a bad draft is shown again with what is wrong and stores nothing', function (): void {
    $config = Kit::ready();
    foreach ([['', 'text'], ['name', ''], ['name', str_repeat('長', 281)], ["\xff", 'text'], [['a'], ['b']]] as [$name, $body]) {
        $response = Kit::write($config, $name, $body);
        Kit::same(422, $response->status);
        Kit::contains('aria-invalid="true"', $response->body);
        Kit::same(true, mb_check_encoding($response->body, 'UTF-8'));
    }
    Kit::contains(str_repeat('長', 281), Kit::write($config, 'name', str_repeat('長', 281))->body);
    Kit::same(0, (new Posts(Database::open($config)))->count());
});
test('site: without a good token nothing is stored and the text is kept', function (): void {
    $config = Kit::ready();
    $visitor = str_repeat('0a', 16);
    $old = (new Csrf([Kit::SECRET], 600))->issue($visitor, Kit::NOW - 601);
    foreach ([['', 'did not come from this site'], [$old, 'open for too long']] as [$token, $why]) {
        $response = Kit::ask($config, 'POST', '/posts', [], ['name' => 'n', 'body' => 'my words', 'token' => $token], [Csrf::COOKIE => $visitor]);
        Kit::same(403, $response->status);
        Kit::contains($why, $response->body);
        Kit::contains('my words</textarea>', $response->body);
        preg_match('/name="token" value="([^"]+)"/', $response->body, $fresh);
        Kit::same(303, Kit::ask($config, 'POST', '/posts', [], ['name' => 'n', 'body' => 'my words', 'token' => $fresh[1]], [Csrf::COOKIE => $visitor])->status);
    }
    Kit::same(2, (new Posts(Database::open($config)))->count());
});
test('site: a form loaded from one host is posted to another', function (): void {
    $one = Kit::ready();
    $two = Kit::config(Kit::folder(), ['dsn' => $one->dsn]);
    $form = Kit::ask($one, 'GET', '/');
    preg_match('/name="token" value="([^"]+)"/', $form->body, $token);
    $response = Kit::ask($two, 'POST', '/posts', [], ['name' => 'n', 'body' => 'over there', 'token' => $token[1]], $form->cookies());
    Kit::same(303, $response->status);
    Kit::contains('over there', Kit::ask($one, 'GET', '/')->body);
});
test('site: cookies are marked secure behind https', function (): void {
    $response = Kit::ask(Kit::ready(), 'GET', '/', [], [], [], ['HTTP_X_FORWARDED_PROTO' => 'https']);
    $cookies = (new ReflectionProperty($response, 'cookies'))->getValue($response);
    Kit::same([true, true, 'Lax'], [$cookies[0][2]['secure'], $cookies[0][2]['httponly'], $cookies[0][2]['samesite']]);
});
test('site: paging shows every post once, newest first', function (): void {
    $config = Kit::ready();
    for ($i = 1; $i <= 7; $i++) {
        Kit::write($config, $i % 2 ? 'odd' : 'even', "number-$i-");
    }
    $seen = [];
    for ($page = 1; $page <= 3; $page++) {
        $body = Kit::ask($config, 'GET', '/', ['page' => (string) $page])->body;
        Kit::contains("Page $page of 3", $body);
        Kit::same([$page > 1, $page < 3], [str_contains($body, 'rel="prev"'), str_contains($body, 'rel="next"')]);
        preg_match_all('/number-(\d+)-/', $body, $found);
        array_push($seen, ...$found[1]);
    }
    Kit::same(['7', '6', '5', '4', '3', '2', '1'], $seen);
    Kit::contains('Page 3 of 3', Kit::ask($config, 'GET', '/', ['page' => '99'])->body);
    Kit::contains('Page 1 of 3', Kit::ask($config, 'GET', '/', ['page' => ['2']])->body);
    $even = Kit::ask($config, 'GET', '/author', ['name' => 'even'])->body;
    Kit::contains('3 posts', $even);
    Kit::lacks('number-7-', $even);
});
test('site: one post, and one that is not there', function (): void {
    $config = Kit::ready();
    Kit::write($config, 'n', 'find me');
    $id = (new Posts(Database::open($config)))->page(1, 0)[0]->id;
    Kit::contains('find me', Kit::ask($config, 'GET', "/posts/$id")->body);
    Kit::same(404, Kit::ask($config, 'GET', '/posts/999999999999999')->status);
    Kit::same(404, Kit::ask($config, 'GET', '/posts/' . str_repeat('9', 40))->status);
    Kit::same(404, Kit::ask($config, 'GET', '/nowhere')->status);
    Kit::same(404, Kit::ask($config, 'GET', '/author', ['name' => "\xff"])->status);
    $wrong = Kit::ask($config, 'DELETE', '/');
    Kit::same([405, 'GET, HEAD'], [$wrong->status, $wrong->header('Allow')]);
});
test('site: an author may be called anything', function (): void {
    $config = Kit::ready();
    foreach (['..', 'a/b', 'a%2Fb', 'x&y=1', '?'] as $name) {
        Kit::write($config, $name, 'by ' . md5($name));
        preg_match('/href="(.author[^"]+)"/', Kit::ask($config, 'GET', '/')->body, $link);
        parse_str((string) parse_url(html_entity_decode($link[1]), PHP_URL_QUERY), $query);
        Kit::contains('by ' . md5($name), Kit::ask($config, 'GET', '/author', $query)->body);
    }
});
test('storage: what goes in comes out', function (): void {
    $posts = new Posts(Database::open(Kit::ready()));
    $id = $posts->add('名前 😀', "a'; DROP TABLE posts; --\n\"\\", 'i-0abc', Kit::NOW);
    $post = $posts->find($id);
    Kit::same(['名前 😀', "a'; DROP TABLE posts; --\n\"\\", 'i-0abc', Kit::NOW], [$post->name, $post->body, $post->host, $post->createdAt]);
    Kit::same([1, 1, 0, null], [$posts->count(), $posts->count('名前 😀'), $posts->count('名前'), $posts->find($id + 1)]);
});
test('storage: creating twice keeps what is there', function (): void {
    $config = Kit::ready();
    Kit::write($config, 'n', 'kept');
    Database::create($config, TINITTER . '/schema');
    Kit::same(1, (new Posts(Database::open($config)))->count());
});
test('health: green with the database, red without it, and never a new empty one', function (): void {
    $config = Kit::ready(['dsn' => 'sqlite:' . ($dir = Kit::folder()) . '/p.sqlite3']);
    $good = Kit::ask($config, 'GET', '/health');
    Kit::same([200, "ok\n", 'no-store', []], [$good->status, $good->body, $good->header('Cache-Control'), $good->cookies()]);
    rename("$dir/p.sqlite3", "$dir/gone");
    $bad = Kit::ask($config, 'GET', '/health');
    Kit::same([503, "unhealthy: the database does not answer\n", 'no-store'], [$bad->status, $bad->body, $bad->header('Cache-Control')]);
    Kit::same(false, is_file("$dir/p.sqlite3"), 'an empty database was made');
    $page = Kit::ask($config, 'GET', '/');
    Kit::same([503, '5'], [$page->status, $page->header('Retry-After')]);
    Kit::lacks($dir, $page->body . $bad->body);
    rename("$dir/gone", "$dir/p.sqlite3");
    Kit::same(200, Kit::ask($config, 'GET', '/health')->status);
});
test('health: red when the table is missing, and when the file is no database', function (): void {
    $dir = Kit::folder();
    $config = Kit::config($dir, ['dsn' => "sqlite:$dir/p.sqlite3"]);
    touch("$dir/p.sqlite3");
    Kit::same(503, Kit::ask($config, 'GET', '/health')->status);
    file_put_contents("$dir/p.sqlite3", str_repeat('not a database ', 1000));
    Kit::same(503, Kit::ask($config, 'GET', '/health')->status);
});
test('health: only GET and HEAD', function (): void {
    $response = Kit::ask(Kit::ready(), 'POST', '/health');
    Kit::same([405, 'GET, HEAD'], [$response->status, $response->header('Allow')]);
});
test('health: a database server that is gone is an answer, soon', function (): void {
    if (!extension_loaded('pdo_mysql')) {
        return; // without the driver the same answer comes from the driver that is missing
    }
    $config = Kit::config(Kit::folder(), ['dsn' => 'mysql:host=127.0.0.1;port=1;dbname=x']);
    $began = microtime(true);
    Kit::same(503, Kit::ask($config, 'GET', '/health')->status);
    Kit::same(true, microtime(true) - $began < 30);
});
test('site: the maintenance note is shown while it is fresh', function (): void {
    $config = Kit::ready();
    foreach ([[Kit::NOW - 5, true], [Kit::NOW - 601, false]] as [$time, $want]) {
        touch($config->dataDir . '/maintenance', $time);
        Kit::same($want, str_contains(Kit::ask($config, 'GET', '/')->body, 'is being deployed'));
    }
});

$metadata = static fn (array $environment = []): string => Kit::serve(__DIR__, __DIR__ . '/metadata.php', $environment);
$instance = static function (string $endpoint, ?string $dir = null, float $timeout = 30): Instance {
    $dir ??= Kit::folder();
    file_put_contents("$dir/boot", "boot-1\n");

    return new Instance($endpoint, $dir, "$dir/boot", $timeout);
};
test('instance: asked with a token, once', function () use ($metadata, $instance): void {
    $dir = Kit::folder();
    Kit::same('i-0123456789abcdef0', $instance($metadata(), $dir)->id(Kit::NOW));
    Kit::same('i-0123456789abcdef0', $instance('http://127.0.0.1:1', $dir)->id(Kit::NOW + 99999), 'cached');
});
test('instance: a service that is not there, or has no version 2, or talks rubbish', function () use ($metadata, $instance): void {
    foreach (['', 'http://127.0.0.1:1', $metadata(['TOKEN_STATUS' => '403']), $metadata(['ID' => '<b>']), $metadata(['ID' => ' '])] as $endpoint) {
        Kit::same('unknown', $instance($endpoint)->id(Kit::NOW));
    }
});
test('instance: one that hangs costs a moment, once a minute', function () use ($instance): void {
    $silent = stream_socket_server('tcp://127.0.0.1:0'); // accepts and never answers
    $endpoint = 'http://' . stream_socket_get_name($silent, false);
    $dir = Kit::folder();
    Kit::same('unknown', $instance($endpoint, $dir, 0.2)->id(Kit::NOW));
    Kit::same(true, is_resource(@stream_socket_accept($silent, 0)), 'asked at first');
    Kit::same('unknown', $instance($endpoint, $dir, 0.2)->id(Kit::NOW + 59));
    Kit::same(false, @stream_socket_accept($silent, 0), 'asked again');
});
test('instance: asked again a minute after it was not known', function () use ($metadata, $instance): void {
    $dir = Kit::folder();
    Kit::same('unknown', $instance('', $dir)->id(Kit::NOW));
    Kit::same('i-0123456789abcdef0', $instance($metadata(), $dir)->id(Kit::NOW + 60));
});
test('instance: a hook\'s note counts, one from another boot does not', function () use ($instance): void {
    $dir = Kit::folder();
    file_put_contents("$dir/instance-id", "i-note\nboot-1\n");
    Kit::same('i-note', $instance('', $dir)->id(Kit::NOW));
    file_put_contents("$dir/instance-id", "i-note\nboot-of-the-image\n");
    Kit::same('unknown', $instance('', $dir)->id(Kit::NOW));
});
