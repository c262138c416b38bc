<?php

declare(strict_types=1);

namespace Tinitter;

use Closure;

/** Routes in the manner of Slim: a method and a pattern such as /posts/{id:[0-9]+} lead to a handler. No braces within braces. */
final class App
{
    /** @var list<array{string, string, Closure}> method, regular expression, handler */
    private array $routes = [];

    public function get(string $pattern, Closure $handler): self
    {
        return $this->map('GET', $pattern, $handler);
    }

    public function post(string $pattern, Closure $handler): self
    {
        return $this->map('POST', $pattern, $handler);
    }

    /**
     * Answers with the first route that fits. HEAD is answered as GET (the sender drops the body).
     * The handler gets the request and the pattern's placeholders by name.
     *
     * @throws HttpError 404 when no pattern fits, 405 with the allowed methods when only the method does not
     */
    public function handle(Request $request): Response
    {
        $method = $request->method === 'HEAD' ? 'GET' : $request->method;
        $allowed = [];
        foreach ($this->routes as [$verb, $pattern, $handler]) {
            if (preg_match($pattern, $request->path, $found) !== 1) {
                continue;
            }
            if ($verb === $method) {
                return $handler($request, array_filter($found, 'is_string', ARRAY_FILTER_USE_KEY));
            }
            array_push($allowed, ...($verb === 'GET' ? ['GET', 'HEAD'] : [$verb]));
        }
        if ($allowed !== []) {
            throw new HttpError(405, 'This address does not take that method.', ['Allow' => implode(', ', array_unique($allowed))]);
        }
        throw new HttpError(404, 'There is nothing at this address.');
    }

    private function map(string $method, string $pattern, Closure $handler): self
    {
        $parts = preg_split('/\{(\w+)(?::([^{}]+))?\}/', $pattern, -1, PREG_SPLIT_DELIM_CAPTURE) ?: [];
        $expression = '';
        for ($i = 0; $i < count($parts); $i += 3) {
            $expression .= preg_quote($parts[$i], '~');
            if (isset($parts[$i + 1])) {
                $expression .= '(?<' . $parts[$i + 1] . '>' . (($parts[$i + 2] ?? '') !== '' ? $parts[$i + 2] : '[^/]+') . ')';
            }
        }
        $this->routes[] = [$method, '~^' . $expression . '$~uD', $handler];

        return $this;
    }
}
