<?php

namespace App\Diffyne;

use Diffyne\Attributes\Invokable;
use Diffyne\Attributes\Lazy;
use Diffyne\Attributes\On;
use Diffyne\Cluster\InteractsWithWebSocket;
use Illuminate\Support\Facades\Auth;
use Illuminate\Support\Facades\DB;
use Illuminate\Support\Facades\View;

/** Does what applications do, the worst of it included. */
#[Lazy]
class Probe extends Plain
{
    use InteractsWithWebSocket;

    public ?string $user = null;

    public array $seen = [];

    /** What one call can see of another's. */
    #[Invokable]
    public function look(): void
    {
        $this->user = session('uid');
        $this->seen = [
            'locale' => app()->getLocale(), 'config' => config('app.name'), 'shared' => View::shared('left', 'nothing'),
            'time_zone' => date_default_timezone_get(), 'transaction' => DB::transactionLevel(), 'session' => session('left', 'nothing'),
            'agent' => request()->userAgent(), 'address' => request()->ip(), 'url' => url('/x'), 'socket' => $this->isWebSocketConnected(),
            'superglobal' => $_GET['left'] ?? 'nothing', 'guest' => Auth::guest(), 'auth' => Auth::id(), 'process' => getmypid(),
        ];
    }

    /** Leaves something everywhere. */
    #[Invokable]
    public function litter(string $uid): void
    {
        session(['uid' => $uid, 'left' => $uid]);
        app()->setLocale('de');
        config(['app.name' => "of $uid"]);
        View::share('left', $uid);
        date_default_timezone_set('Asia/Tokyo');
        $_GET['left'] = $uid;
        error_reporting(0);
        DB::beginTransaction();
        DB::table('messages')->insert(['content' => "never $uid", 'room_id' => 99]);
        ob_start();
        echo 'half a page';
        $this->user = $uid;
    }

    #[Invokable]
    public function login(string $uid): void
    {
        session()->regenerate();
        session(['uid' => $uid]);
        $this->user = $uid;
    }

    /** A login as applications do it, to be remembered. */
    #[Invokable]
    public function enter(int $id): void
    {
        Auth::loginUsingId($id, true);
    }

    #[Invokable]
    public function exitUser(): void
    {
        Auth::logout();
        session()->invalidate();
    }

    /** Tells the test that the call runs, and waits until the test releases it. */
    private function holdUntilReleased(string $tag): void
    {
        touch(base_path("begun-$tag"));
        while (! file_exists(base_path("released-$tag"))) {
            usleep(5_000);
        }
    }

    /** Reads the session, waits for the test, and writes. */
    #[Invokable]
    public function writeWhenReleased(string $key): void
    {
        $this->user = session('uid');
        $this->holdUntilReleased($key);
        session([$key => 'written']);
        $this->text = $key;
    }

    /** Survives whatever happens when it asks for the session. */
    #[Invokable]
    public function lookCarefully(): void
    {
        try {
            $this->user = session('uid');
        } catch (\Throwable) {
            $this->user = 'nobody';
        }
        session(['written' => 'by nobody']);
    }

    #[Invokable]
    public function readSession(): void
    {
        $this->seen = collect(session()->all())->except(['_token', '_flash', '_previous'])->all();
    }

    #[Invokable]
    public function flashErrors(): void
    {
        session()->flash('errors', (new \Illuminate\Support\ViewErrorBag())->put('default', new \Illuminate\Support\MessageBag(['field' => 'from before'])));
        \Illuminate\Support\Facades\Cookie::queue('theme', 'dark', 60);
    }

    #[Invokable]
    public function readErrors(): void
    {
        $this->text = View::shared('errors')->first('field').'|'.count(View::shared('errors')).'|'.request()->cookie('theme');
    }

    #[Invokable]
    public function headers(): void
    {
        $names = ['x-request-id', 'traceparent', 'x-diffyne-transport', 'x-diffyne-client-id', 'accept-language', 'authorization'];
        $this->seen = array_combine($names, array_map(fn ($name) => request()->header($name), $names));
        $this->seen += ['path' => request()->route()?->uri(), 'secure' => request()->isSecure(), 'host' => request()->getHost()];
    }

    /** Who and where the application thinks that the user is, and cookies as they have come, in a form that every byte survives. */
    #[Invokable]
    public function raw(): void
    {
        try {
            $seen = ['ip' => request()->ip(), 'secure' => request()->isSecure(), 'url' => url('/reset')];
        } catch (\Throwable $error) {
            $seen = ['error' => $error::class];
        }
        $this->text = base64_encode(serialize(request()->cookies->all()));
        $this->seen = $seen;
    }

    #[Invokable]
    public function readTheme(): void
    {
        $this->text = request()->cookie('theme', 'none');
    }

    #[Invokable]
    public function forgetTheme(): void
    {
        \Illuminate\Support\Facades\Cookie::queue(\Illuminate\Support\Facades\Cookie::forget('theme'));
    }

    #[Invokable]
    public function health(): void
    {
        $this->seen = app('diffyne.websocket.health')->status() + ['healthy' => app('diffyne.websocket.health')->isHealthy()];
    }

    #[On('probed')]
    public function heard(array $data): void
    {
    }

    public function mayHear(string $event, array $match): bool
    {
        return ($match['room_id'] ?? null) === 1 || session('uid') === 'ada';
    }

    #[Invokable]
    public function leak(int $megabytes): void
    {
        // A static variable, which PHP lets nobody put back.
        static $leak = [];
        $leak[] = str_repeat('x', $megabytes << 20);
        $this->text = (string) getmypid();
    }

    #[Invokable]
    public function shout(int $megabytes): void
    {
        echo str_repeat('x', $megabytes << 20);
        $this->text = 'said';
    }

    #[Invokable]
    public function big(int $megabytes): void
    {
        $this->text = str_repeat('x', $megabytes << 20);
    }

    #[Invokable]
    public function wait(int $ms): void
    {
        usleep($ms * 1000);
        $this->text = (string) getmypid();
    }

    /** The application's time zone is read once more when the request ends. */
    #[Invokable]
    public function spoil(): void
    {
        app()->terminating(fn () => throw new \RuntimeException('terminate throws'));
        $this->text = 'spoilt';
    }

    /** Answers when the test releases it; what comes after the answer takes its time, and ends the process. */
    #[Invokable]
    public function depart(string $how): void
    {
        app()->terminating(static function () use ($how): void {
            usleep(300_000);
            $how === 'exit' ? exit() : posix_kill(getmypid(), SIGKILL);
        });
        $this->holdUntilReleased($how);
        $this->text = (string) getmypid();
    }

    /** Leaves a line in a file, takes its time, and may end its process. */
    #[Invokable]
    public function record(string $id, int $microseconds, string $end): void
    {
        file_put_contents(base_path('record'), "$id\n", FILE_APPEND | LOCK_EX);
        usleep($microseconds);
        match ($end) {
            'exit' => exit(0),
            'kill' => posix_kill(getmypid(), 9),
            default => $this->text = $id,
        };
    }

    #[Invokable]
    protected function guarded(): void
    {
        $this->text = 'guarded';
    }

    public function version(): string
    {
        return 'VERSION-1';
    }

    #[Invokable]
    public function ask(): void
    {
        $this->text = $this->version();
    }
}
