<?php

/*
 * Sessions, cookies and errors that come to life when a call uses them, and are written back only when it has
 * changed them. Comes with the order to start: it is evaluated once the classes of the framework can be found.
 */

namespace Diffyne\Cluster\Loop {

    use Closure;
    use Illuminate\Http\Request;
    use Illuminate\Session\CookieSessionHandler;
    use Illuminate\Session\DatabaseSessionHandler;
    use Illuminate\Session\EncryptedStore;
    use Illuminate\Session\FileSessionHandler;
    use Illuminate\Session\Store;
    use Illuminate\Support\ViewErrorBag;
    use SessionHandlerInterface;

    /**
     * What both of the framework's stores get: they begin at first use, know whether they have been changed, and do
     * not undo what another request has written meanwhile.
     *
     * Laziness is by properties that are not there until somebody asks for them.
     */
    trait FollowsUse
    {
        private ?Closure $opening = null;

        /** What the store held when it was read, and as text. */
        private array $read = [];

        private string $readText = '';

        private string $idAtStart = '';

        private string $textAtStart = '';

        /** Whether it has begun, */
        public bool $begun = false;

        /** held something then, */
        public bool $known = false;

        /** and has been ended by somebody else since. */
        public bool $ended = false;

        /** Takes the place of a store that the framework has made. With $open, which gives it its id, it begins when it is used. */
        public static function over(Store $store, ?Closure $open): static
        {
            $copy = (new \ReflectionClass(static::class))->newInstanceWithoutConstructor();
            $fields = Closure::bind(static fn () => get_object_vars($store), null, $store::class)();
            unset($fields['id'], $fields['attributes'], $fields['started']);
            foreach ($fields as $name => $value) {
                $copy->{$name} = $value;
            }
            if ($open === null) {
                $copy->setId(null);
            } else {
                $copy->opening = $open;
                unset($copy->id, $copy->attributes, $copy->started);
            }

            return $copy;
        }

        private function open(): void
        {
            if ($this->opening === null) {
                return;
            }
            [$open, $this->opening] = [$this->opening, null];
            [$this->id, $this->attributes, $this->started] = ['', [], false];
            $open($this);
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
            $this->read = parent::readFromHandler();
            $this->readText = serialize($this->read);
            parent::start();
            $this->begun = true;
            $this->known = $this->read !== [];
            $this->idAtStart = $this->getId();
            $this->textAtStart = serialize($this->attributes);

            return true;
        }

        /** The framework reads a session once a start; so does this. */
        protected function readFromHandler()
        {
            return $this->read;
        }

        public function hasNewId(): bool
        {
            return $this->begun && $this->getId() !== $this->idAtStart;
        }

        /** Whether there is something to write. */
        public function isChanged(): bool
        {
            return $this->begun && (! $this->known || $this->hasNewId() || $this->get('_flash.old') || $this->get('_flash.new')
                || serialize($this->attributes) !== $this->textAtStart);
        }

        /** Writes it; into what others have written since it was read, and not if one of them has ended it. */
        public function save(): void
        {
            if ($this->begun && $this->known && ! $this->hasNewId()) {
                $now = parent::readFromHandler();
                if ($now === []) {
                    [$this->ended, $this->started] = [true, false];

                    return;
                }
                if (serialize($now) !== $this->readText) {
                    $this->attributes = $this->onTopOf($now);
                }
            }
            parent::save();
        }

        private function onTopOf(array $now): array
        {
            foreach ($this->attributes + $this->read as $name => $_) {
                $mine = array_key_exists($name, $this->attributes);
                $old = array_key_exists($name, $this->read);
                if (! $mine) {
                    unset($now[$name]);
                } elseif (! $old || serialize($this->read[$name]) !== serialize($this->attributes[$name])) {
                    $now[$name] = $this->attributes[$name];
                }
            }

            return $now;
        }
    }

    final class PlainSession extends Store
    {
        use FollowsUse;
    }

    final class EncryptedSession extends EncryptedStore
    {
        use FollowsUse;
    }

    /** A `Cookie` header as PHP itself reads it into $_COOKIE. */
    final class Cookies
    {
        /** @return array<array-key, string|array> */
        public static function parse(string $header): array
        {
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

            return $plain ? self::first($pairs) : self::mangled($pairs);
        }

        private static function first(array $pairs): array
        {
            $cookies = [];
            foreach ($pairs as [$name, $value]) {
                $cookies[$name] ??= $value;
            }

            return $cookies;
        }

        /** PHP changes these names, and makes arrays of some: parse_str() does the same, except that the last one counts. */
        private static function mangled(array $pairs): array
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
            parse_str(implode('&', $kept), $cookies);

            return $cookies;
        }
    }

    /** A request whose cookies are decrypted, and whose session is made, when somebody asks. */
    final class LazyRequest extends Request
    {
        private ?Closure $cookiesLater = null;

        private ?Closure $sessionLater = null;

        public function later(Closure $cookies, ?Closure $session): void
        {
            [$this->cookiesLater, $this->sessionLater] = [$cookies, $session];
            unset($this->cookies);
            if ($session !== null) {
                unset($this->session);
            }
        }

        public function &__get($key)
        {
            if ($key === 'cookies' && $this->cookiesLater !== null) {
                [$later, $this->cookiesLater] = [$this->cookiesLater, null];
                $this->cookies = new \Symfony\Component\HttpFoundation\InputBag();
                $later($this);

                return $this->cookies;
            }
            if ($key === 'session' && $this->sessionLater !== null) {
                [$later, $this->sessionLater] = [$this->sessionLater, null];
                $this->setLaravelSession($later($this));

                return $this->session;
            }
            $value = parent::__get($key);

            return $value;
        }

        public function __set(string $name, mixed $value): void
        {
            if ($name === 'cookies') {
                $this->cookiesLater = null;
            } elseif ($name === 'session') {
                $this->sessionLater = null;
            }
            $this->{$name} = $value;
        }

        /** The framework's own asks its inputs, and these are none. */
        public function __isset($key)
        {
            return in_array($key, ['cookies', 'session'], true) || parent::__isset($key);
        }
    }

    /** The errors that a page has left in the session. */
    final class LazyErrors extends ViewErrorBag
    {
        public function __construct(private ?Closure $later)
        {
            unset($this->bags);
        }

        public function &__get($key)
        {
            if ($key === 'bags' && $this->later !== null) {
                [$later, $this->later] = [$this->later, null];
                $found = $later();
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

    /** Keeps sessions from expiring that are used by sockets only. */
    final class Touch
    {
        private const EVERY_SECONDS = 60;

        private const REMEMBERED = 10_000;

        /** @var array<string, int> when a session was last used, by the cookie that names it */
        private array $at = [];

        /** Whether a minute has gone since the session of this cookie was used the last time. */
        public function isDue(string $cookie, int $now): bool
        {
            return $now - ($this->at[$cookie] ?? 0) >= self::EVERY_SECONDS;
        }

        public function note(string $cookie, int $now): void
        {
            unset($this->at[$cookie]);
            if (count($this->at) >= self::REMEMBERED) {
                unset($this->at[array_key_first($this->at)]);
            }
            $this->at[$cookie] = $now;
        }

        /** Lets a session live on that is there; one that has ended stays ended. */
        public static function session(SessionHandlerInterface $handler, string $id): void
        {
            $data = $handler->read($id);
            if (! is_string($data) || $data === '') {
                return;
            }
            $of = static fn (string $class, Closure $work) => Closure::bind($work, $handler, $class)();
            if ($handler instanceof FileSessionHandler) {
                $file = $of(FileSessionHandler::class, fn () => $this->path).'/'.$id;
                // Not through touch(), which would make the file again.
                if (($stream = @fopen($file, 'r+')) !== false) {
                    fwrite($stream, $data[0]);
                    fclose($stream);
                }
            } elseif ($handler instanceof DatabaseSessionHandler) {
                $of(DatabaseSessionHandler::class, fn () => $this->getQuery()->where('id', $id)->update(['last_activity' => time()]));
            } elseif (! $handler instanceof CookieSessionHandler) {
                $handler->write($id, $data);
            }
        }
    }
}
