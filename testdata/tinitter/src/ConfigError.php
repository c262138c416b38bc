<?php

declare(strict_types=1);

namespace Tinitter;

final class ConfigError extends \RuntimeException
{
}
