<?php

/*
 * Sessions, cookies and errors that are read when a call uses them, and written only when it has changed them.
 *
 * This file comes with the start message: the loop evaluates it once the framework's classes can be loaded.
 */

namespace Diffyne\Cluster\Loop {

    use Closure;
    use Diffyne\Cluster\Channels;
    use Illuminate\Http\Request;
    use Illuminate\Session\CookieSessionHandler;
    use Illuminate\Session\DatabaseSessionHandler;
    use Illuminate\Session\EncryptedStore;
    use Illuminate\Session\FileSessionHandler;
    use Illuminate\Session\Store;
    use Illuminate\Support\ViewErrorBag;
    use SessionHandlerInterface;
    use Symfony\Component\HttpFoundation\HeaderBag;
    use Symfony\Component\HttpFoundation\ServerBag;

    /**
     * Opens a session store at its first use, knows whether it was changed, and keeps what another request has written
     * meanwhile.
     *
     * The store's properties are unset until somebody reads them.
     */
    trait LazySession
    {
        private ?Closure $opener = null;

        /** The stored values when the session was opened. */
        private array $stored = [];

        /** The same values, serialized. */
        private string $storedText = '';

        private string $idAtStart = '';

        private string $textAtStart = '';

        /** Whether the session was opened. */
        public bool $opened = false;

        /** Whether it was stored before it was opened. */
        public bool $existed = false;

        /** Whether another request has ended it since it was opened. */
        public bool $endedElsewhere = false;

        /** Whether it is never written: the call is nobody's. */
        public bool $leavesNothing = false;

        /** Takes the place of a store of the framework, which nobody has opened. */
        public static function replacing(Store $store): static
        {
            $copy = (new \ReflectionClass(static::class))->newInstanceWithoutConstructor();
            $copy->adopt($store);

            return $copy;
        }

        /** Takes over how a store of the framework is configured. */
        public function adopt(Store $store): void
        {
            $fields = Closure::bind(static fn () => get_object_vars($store), null, $store::class)();
            unset($fields['id'], $fields['attributes'], $fields['started']);
            foreach ($fields as $name => $value) {
                $this->{$name} = $value;
            }
        }

        /**
         * Begins anew, for another call. $opener gives the store its id at first use. Without it, the framework opens the
         * store.
         */
        public function reset(?Closure $opener): void
        {
            [$this->stored, $this->storedText, $this->idAtStart, $this->textAtStart] = [[], '', '', ''];
            $this->opened = $this->existed = $this->endedElsewhere = $this->leavesNothing = false;
            $this->opener = null;
            if ($opener === null) {
                [$this->id, $this->attributes, $this->started] = ['', [], false];
                $this->setId(null);
            } else {
                $this->opener = $opener;
                unset($this->id, $this->attributes, $this->started);
            }
        }

        private function open(): void
        {
            if ($this->opener === null) {
                return;
            }
            [$opener, $this->opener] = [$this->opener, null];
            [$this->id, $this->attributes, $this->started] = ['', [], false];
            $opener($this);
        }

        public function &__get(string $name): mixed
        {
            $this->open();

            return $this->{$name};
        }

        public function __set(string $name, mixed $value): void
        {
            $this->open();
            $this->{$name} = $value;
        }

        public function __isset(string $name): bool
        {
            $this->open();

            return isset($this->{$name});
        }

        public function start(): bool
        {
            $this->stored = parent::readFromHandler();
            $this->storedText = serialize($this->stored);
            parent::start();
            $this->opened = true;
            $this->existed = $this->stored !== [];
            $this->idAtStart = $this->getId();
            $this->textAtStart = serialize($this->attributes);

            return true;
        }

        /** The framework reads a session at each start; this reads what was read then. */
        protected function readFromHandler()
        {
            return $this->stored;
        }

        public function hasNewId(): bool
        {
            return $this->opened && $this->getId() !== $this->idAtStart;
        }

        /** Whether the session has to be written. */
        public function isChanged(): bool
        {
            return $this->opened && ! $this->leavesNothing && (! $this->existed || $this->hasNewId() || $this->get('_flash.old') || $this->get('_flash.new')
                || serialize($this->attributes) !== $this->textAtStart);
        }

        /** Writes the session, merged into what others have written since, unless one of them has ended it. */
        public function save(): void
        {
            if ($this->leavesNothing) {
                return;
            }
            if ($this->opened && $this->existed && ! $this->hasNewId()) {
                $now = parent::readFromHandler();
                if ($now === []) {
                    [$this->endedElsewhere, $this->started] = [true, false];

                    return;
                }
                if (serialize($now) !== $this->storedText) {
                    $this->attributes = $this->mergedInto($now);
                }
            }
            parent::save();
        }

        private function mergedInto(array $now): array
        {
            foreach ($this->attributes + $this->stored as $name => $_) {
                $mine = array_key_exists($name, $this->attributes);
                $old = array_key_exists($name, $this->stored);
                if (! $mine) {
                    unset($now[$name]);
                } elseif (! $old || serialize($this->stored[$name]) !== serialize($this->attributes[$name])) {
                    $now[$name] = $this->attributes[$name];
                }
            }

            return $now;
        }
    }

    final class PlainSession extends Store
    {
        use LazySession;
    }

    final class EncryptedSession extends EncryptedStore
    {
        use LazySession;
    }

    /** Parses a `Cookie` header as PHP itself does for $_COOKIE. */
    final class Cookies
    {
        /** @return array<array-key, string|array> */
        public static function parse(string $header): array
        {
            if ($header === '') {
                return [];
            }
            $pairs = [];
            $plain = true;
            foreach (explode(';', $header) as $pair) {
                [$name, $value] = explode('=', ltrim($pair, " \t"), 2) + [1 => ''];
                if ($name === '') {
                    continue;
                }
                $pairs[] = [$name, rawurldecode($value)];
                $plain = $plain && strpbrk($name, '. [') === false;
            }

            return $plain ? self::firstOfEach($pairs) : self::withPhpNames($pairs);
        }

        private static function firstOfEach(array $pairs): array
        {
            $cookies = [];
            foreach ($pairs as [$name, $value]) {
                $cookies[$name] ??= $value;
            }

            return $cookies;
        }

        /** PHP changes these names, and makes arrays of some. parse_str() does the same, except that the last one counts. */
        private static function withPhpNames(array $pairs): array
        {
            $known = $kept = [];
            foreach ($pairs as [$name, $value]) {
                $text = rawurlencode($name).'='.rawurlencode($value);
                parse_str($text, $one);
                $key = array_key_first($one);
                if ($key === null || (! is_array($one[$key]) && isset($known[$key]))) {
                    continue;
                }
                $known[$key] = true;
                $kept[] = $text;
            }
            // PHP's own server drops the rest as well; parse_str() also warns.
            parse_str(implode('&', array_slice($kept, 0, (int) ini_get('max_input_vars'))), $cookies);

            return $cookies;
        }
    }

    /** A request that reads its headers, decrypts its cookies and makes its session at first use. */
    final class LazyRequest extends Request
    {
        /** @var ?array the server variables that its headers are read from; null once they are */
        private ?array $headerSource = null;

        private ?Closure $cookieResolver = null;

        private ?Closure $sessionResolver = null;

        public function resolveLater(array $server, Closure $cookies, ?Closure $session): void
        {
            $this->server = new ServerBag($server);
            [$this->headerSource, $this->cookieResolver, $this->sessionResolver] = [$server, $cookies, $session];
            unset($this->headers, $this->cookies);
            if ($session !== null) {
                unset($this->session);
            }
        }

        /** Whether somebody has asked for its cookies. */
        public function hasReadCookies(): bool
        {
            return $this->cookieResolver === null;
        }

        public function &__get($key)
        {
            if ($key === 'headers' && $this->headerSource !== null) {
                $this->headers = new HeaderBag((new ServerBag($this->headerSource))->getHeaders());
                Channels::nameSocket($this);

                return $this->headers;
            }
            if ($key === 'cookies' && $this->cookieResolver !== null) {
                [$resolver, $this->cookieResolver] = [$this->cookieResolver, null];
                $this->cookies = new \Symfony\Component\HttpFoundation\InputBag();
                $resolver($this);

                return $this->cookies;
            }
            if ($key === 'session' && $this->sessionResolver !== null) {
                [$resolver, $this->sessionResolver] = [$this->sessionResolver, null];
                $this->setLaravelSession($resolver($this));

                return $this->session;
            }
            $value = parent::__get($key);

            return $value;
        }

        public function __set(string $name, mixed $value): void
        {
            if ($name === 'headers') {
                $this->headerSource = null;
            } elseif ($name === 'cookies') {
                $this->cookieResolver = null;
            } elseif ($name === 'session') {
                $this->sessionResolver = null;
            }
            $this->{$name} = $value;
        }

        /** The framework's own method looks for inputs only. */
        public function __isset($key)
        {
            return in_array($key, ['headers', 'cookies', 'session'], true) || parent::__isset($key);
        }
    }

    /** The errors that a page left in the session, read at first use. */
    final class LazyErrors extends ViewErrorBag
    {
        public function __construct(private ?Closure $resolver)
        {
            unset($this->bags);
        }

        public function &__get($key)
        {
            if ($key === 'bags' && $this->resolver !== null) {
                [$resolver, $this->resolver] = [$this->resolver, null];
                $found = $resolver();
                $this->bags = $found instanceof ViewErrorBag ? $found->getBags() : [];

                return $this->bags;
            }
            $bag = $this->getBag($key);

            return $bag;
        }

        public function __set($key, $value)
        {
            if ($key === 'bags') {
                $this->bags = $value;
            } else {
                $this->put($key, $value);
            }
        }
    }

    /** Keeps sessions from expiring that only WebSockets use. */
    final class SessionKeepAlive
    {
        private const INTERVAL_SECONDS = 60;

        private const SESSIONS_MAX = 10_000;

        /** @var array<string, int> when a session was last used, by the hash of its cookie */
        private array $usedAt = [];

        /** The hash of the cookie that was marked last. */
        public string $lastUsed = '';

        /** Whether the session of this cookie was not used for a minute. */
        public function isDue(string $cookie, int $now): bool
        {
            return $now - ($this->usedAt[$cookie] ?? 0) >= self::INTERVAL_SECONDS;
        }

        public function markUsed(string $cookie, int $now): void
        {
            unset($this->usedAt[$cookie]);
            if (count($this->usedAt) >= self::SESSIONS_MAX) {
                unset($this->usedAt[array_key_first($this->usedAt)]);
            }
            $this->usedAt[$cookie] = $now;
            $this->lastUsed = $cookie;
        }

        /** Renews a stored session; one that has ended stays ended. */
        public static function renew(SessionHandlerInterface $handler, string $id): void
        {
            $data = $handler->read($id);
            if (! is_string($data) || $data === '') {
                return;
            }
            $inside = static fn (string $class, Closure $work) => Closure::bind($work, $handler, $class)();
            if ($handler instanceof FileSessionHandler) {
                $file = $inside(FileSessionHandler::class, fn () => $this->path).'/'.$id;
                // Not touch(): it would create the file of a session that has just ended.
                if (($stream = @fopen($file, 'r+')) !== false) {
                    fwrite($stream, $data[0]);
                    fclose($stream);
                }
            } elseif ($handler instanceof DatabaseSessionHandler) {
                $inside(DatabaseSessionHandler::class, fn () => $this->getQuery()->where('id', $id)->update(['last_activity' => time()]));
            } elseif (! $handler instanceof CookieSessionHandler) {
                $handler->write($id, $data);
            }
        }
    }
}
