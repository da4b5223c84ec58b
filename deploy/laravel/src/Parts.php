<?php

namespace Diffyne\Cluster;

use Closure;
use InvalidArgumentException;

/** Where the parts of the current call's answer go. */
final class Parts
{
    /** The longest content of a part, in bytes. */
    private const CONTENT_BYTES = 65536;

    private const PLACE_BYTES = 255;

    private const JSON = JSON_UNESCAPED_SLASHES | JSON_UNESCAPED_UNICODE | JSON_INVALID_UTF8_SUBSTITUTE;

    /** Writes a part, and tells whether the browser is still there. Null: nobody takes parts. */
    private static ?Closure $write = null;

    private static bool $hasLeft = false;

    /** Begins a call. */
    public static function begin(?Closure $write): void
    {
        [self::$write, self::$hasLeft] = [$write, false];
    }

    public static function end(): void
    {
        self::$write = null;
    }

    public static function send(string $to, string $content, bool $replace): bool
    {
        if ($to === '' || strlen($to) > self::PLACE_BYTES) {
            throw new InvalidArgumentException('The name of a place for parts has 1 to '.self::PLACE_BYTES.' bytes.');
        }
        if (strlen($content) > self::CONTENT_BYTES) {
            throw new InvalidArgumentException('A part of an answer may have '.self::CONTENT_BYTES.' bytes, and this one has '.strlen($content).'.');
        }
        if (self::$write === null) {
            return true;
        }
        if (self::$hasLeft) {
            if (! ignore_user_abort()) {
                throw new ClientLeft();
            }

            return false;
        }
        self::$hasLeft = ! (self::$write)(['to' => $to, 'content' => $content] + ($replace ? ['replace' => true] : []));

        return ! self::$hasLeft;
    }

    /**
     * Writes parts as lines of the response that a worker reads over HTTP or FastCGI. Null where the server gives
     * PHP no way to do that: Octane's answers go out as a whole.
     */
    public static function lines(): ?Closure
    {
        if (! in_array(PHP_SAPI, ['fpm-fcgi', 'cgi-fcgi', 'cli-server', 'apache2handler', 'litespeed'], true)) {
            return null;
        }

        return static function (array $part): bool {
            $before = (bool) ignore_user_abort(true);
            if (! headers_sent()) {
                header('Content-Type: application/x-diffyne');
                // nginx would otherwise collect the parts.
                header('X-Accel-Buffering: no');
            }
            $printed = [];
            // A buffer that PHP does not let go keeps the part until the end.
            while (ob_get_level() > 0 && is_string($level = ob_get_clean())) {
                $printed[] = $level;
            }
            echo '{"part":', json_encode($part, self::JSON), "}\n";
            flush();
            while ($printed !== []) {
                ob_start();
                echo array_pop($printed);
            }
            ignore_user_abort($before);

            return connection_aborted() === 0;
        };
    }
}
