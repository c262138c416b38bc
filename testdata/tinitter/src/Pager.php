<?php

declare(strict_types=1);

namespace Tinitter;

/** Which slice of a list a page shows. A page that does not exist becomes the nearest one that does. */
final class Pager
{
    public readonly int $page;
    public readonly int $pages;
    public readonly int $offset;

    public function __construct(public readonly int $total, public readonly int $perPage, string $asked = '')
    {
        $this->pages = max(1, intdiv(max(0, $total) + $perPage - 1, $perPage));
        $digits = preg_match('/^[0-9]{1,9}$/D', $asked) === 1;
        $beyond = preg_match('/^[0-9]{10,}$/D', $asked) === 1;
        $this->page = min(max($beyond ? $this->pages : ($digits ? (int) $asked : 1), 1), $this->pages);
        $this->offset = ($this->page - 1) * $perPage;
    }

    public function newer(): ?int
    {
        return $this->page > 1 ? $this->page - 1 : null;
    }

    public function older(): ?int
    {
        return $this->page < $this->pages ? $this->page + 1 : null;
    }
}
