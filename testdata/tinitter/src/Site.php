<?php

declare(strict_types=1);

namespace Tinitter;

use DateTimeZone;
use PDO;
use PDOException;
use Throwable;

/** The site: its routes, and what they have in common. */
final class Site
{
    private const NAME_COOKIE = 'tinitter_name';
    private const YEAR = 31536000;
    private const MAINTENANCE_SECONDS = 600;

    private readonly App $app;
    private readonly View $view;
    private readonly Csrf $csrf;
    private readonly Release $release;
    private ?PDO $db = null;
    private ?string $instanceId = null;

    public function __construct(private readonly string $root, private readonly Config $config, private readonly int $now)
    {
        $this->csrf = new Csrf($config->secrets, $config->formLifetime);
        $this->release = Release::read($root);
        $this->view = new View("$root/templates", new DateTimeZone($config->timeZone), [
            'release' => $this->release, 'notice' => '', 'maintenance' => false, 'instance' => '', 'assets' => rawurlencode($this->release->revision),
        ]);
        $this->app = (new App())
            ->get('/', $this->timeline(...))
            ->get('/author', $this->author(...))
            ->get('/posts/{id:[0-9]+}', $this->post(...))
            ->post('/posts', $this->add(...))
            ->get('/instance', $this->instance(...))
            ->get('/health', $this->health(...));
    }

    /** Answers the current request from the installation at $root; the one place that talks to the web server. */
    public static function serve(string $root): void
    {
        ini_set('display_errors', '0'); // a warning belongs in the log, and in front of a header it would spoil the answer
        mb_internal_encoding('UTF-8');
        $request = Request::fromGlobals();
        try {
            $response = (new self($root, Config::load("$root/config.php"), time()))->answer($request);
        } catch (ConfigError $problem) {
            error_log('tinitter: ' . $problem->getMessage());
            $response = Response::text('not configured: see the error log of the web server', $request->path === '/health' ? 503 : 500);
        }
        $response->send($request->method !== 'HEAD');
    }

    public function answer(Request $request): Response
    {
        try {
            $response = $this->app->handle($request);
        } catch (HttpError $problem) {
            $response = $this->failure($problem->status, $problem->getMessage());
            foreach ($problem->headers as $name => $value) {
                $response->with($name, $value);
            }
        } catch (PDOException $problem) {
            error_log('tinitter: database: ' . $problem->getMessage());
            $response = $this->failure(503, 'The database does not answer. Please try again in a moment.')->with('Retry-After', '5');
        } catch (Throwable $problem) {
            error_log('tinitter: ' . $problem);
            $response = $this->failure(500, 'Something went wrong on our side.');
        }

        return $response
            ->with('X-Tinitter-Revision', $this->release->revision)
            ->with('X-Tinitter-Deployment', $this->release->deployment)
            ->with('X-Content-Type-Options', 'nosniff')
            ->with('Referrer-Policy', 'same-origin')
            ->with('Content-Security-Policy', "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'");
    }

    private function timeline(Request $request): Response
    {
        $notice = $request->query('posted') === '1' ? 'Posted.' : '';

        return $this->form($request, Draft::blank($request->cookie(self::NAME_COOKIE)), 200, $notice);
    }

    /** The name is a parameter and no part of the path: a name may hold slashes, and be "..". */
    private function author(Request $request): Response
    {
        $name = $request->query('name');
        if ($name === '' || !mb_check_encoding($name, 'UTF-8')) {
            throw new HttpError(404, 'There is no such author.');
        }

        return $this->form($request, Draft::blank(), 200, '', $name);
    }

    /** @param array<string, string> $in */
    private function post(Request $request, array $in): Response
    {
        $post = $this->posts()->find((int) $in['id']) ?? throw new HttpError(404, 'This post does not exist.');

        return Response::html($this->page('post', ['title' => $post->name, 'post' => $post]));
    }

    private function add(Request $request): Response
    {
        $draft = Draft::from($request->field('name'), $request->field('body'));
        $refused = $this->csrf->refuse($request->field('token'), $request->cookie(Csrf::COOKIE), $this->now);
        if ($refused !== null) {
            return $this->form($request, $draft, 403, $refused);
        }
        if (!$draft->ok()) {
            return $this->form($request, $draft, 422);
        }
        $this->posts()->add($draft->name, $draft->body, $this->instanceId(), $this->now);

        return Response::seeOther('/?posted=1')->cookie(self::NAME_COOKIE, $draft->name, self::YEAR, $request->secure());
    }

    private function instance(Request $request): Response
    {
        return Response::json([
            'instance' => $this->instanceId(), 'revision' => $this->release->revision, 'deployment' => $this->release->deployment,
        ]);
    }

    /** What the balancer asks: can this host serve the site, database included? */
    private function health(Request $request): Response
    {
        try {
            Database::check($this->config);
        } catch (PDOException $problem) {
            // The cause names hosts and users, so it goes to the log and not to whoever asks.
            error_log('tinitter: health: ' . $problem->getMessage());

            return Response::text('unhealthy: the database does not answer', 503);
        }

        return Response::text('ok');
    }

    private function form(Request $request, Draft $draft, int $status, string $notice = '', ?string $name = null): Response
    {
        $posts = $this->posts();
        $pager = new Pager($posts->count($name), $this->config->perPage, $request->query('page'));
        $visitor = $request->cookie(Csrf::COOKIE);
        $known = Csrf::isVisitor($visitor);
        $visitor = $known ? $visitor : Csrf::visitor();
        $html = $this->page('timeline', [
            'title' => $name ?? 'Timeline', 'draft' => $draft, 'token' => $this->csrf->issue($visitor, $this->now), 'pager' => $pager,
            'posts' => $posts->page($pager->perPage, $pager->offset, $name), 'name' => $name, 'notice' => $notice, 'alert' => $status >= 400,
        ]);
        $response = Response::html($html, $status);

        return $known ? $response : $response->cookie(Csrf::COOKIE, $visitor, self::YEAR, $request->secure());
    }

    private function failure(int $status, string $message): Response
    {
        return Response::html($this->page('error', ['title' => (string) $status, 'status' => $status, 'message' => $message]), $status);
    }

    /** @param array<string, mixed> $values */
    private function page(string $template, array $values): string
    {
        $marker = @filemtime($this->config->dataDir . '/maintenance');
        $this->view->share([
            'instance' => $this->instanceId(),
            // A deployment that died must not leave its banner for ever.
            'maintenance' => $marker !== false && $this->now - $marker < self::MAINTENANCE_SECONDS,
        ]);

        return $this->view->page($template, $values);
    }

    private function posts(): Posts
    {
        return new Posts($this->db ??= Database::open($this->config));
    }

    private function instanceId(): string
    {
        return $this->instanceId ??= (new Instance($this->config->metadataEndpoint, $this->config->dataDir))->id($this->now);
    }
}
