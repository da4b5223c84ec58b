<?php

namespace App\Diffyne;

use Diffyne\Attributes\Invokable;
use Diffyne\Component;

/** Starts other processes, as some applications do. */
class Launcher extends Component
{
    public string $text = '';

    public int $process = 0;

    public function render(): string
    {
        return '<p>'.e($this->text).'</p>';
    }

    #[Invokable]
    public function say(string $text): void
    {
        $this->text = $text;
        $this->process = getmypid();
    }

    /** Makes a copy of the process in the middle of a call. */
    #[Invokable]
    public function fork(string $child, string $text): void
    {
        if (pcntl_fork() === 0) {
            match ($child) {
                'returns' => null,
                'returns late' => usleep(100_000),
                'throws' => throw new \LogicException('thrown by a child'),
                'exits' => exit(0),
                'dies' => posix_kill(getmypid(), SIGSEGV),
            };
            $this->text = 'a child';

            return;
        }
        // A child that returns at once is done before its parent.
        $child === 'returns' && usleep(50_000);
        $this->text = $text;
        $this->process = getmypid();
    }

    /** Makes a copy of the process after the answer, when the process may read its next call. */
    #[Invokable]
    public function forkAfterwards(): void
    {
        app()->terminating(static fn () => pcntl_fork() === 0 || usleep(50_000));
    }

    /** Leaves a copy of the process behind, and ends as it is told. */
    #[Invokable]
    public function leaveChild(string $end): void
    {
        $child = pcntl_fork();
        if ($child === 0) {
            sleep(600);
            exit(0);
        }
        $this->finish($child, $end);
    }

    /** Leaves a program behind, which holds the process's standard error, and ends as it is told. */
    #[Invokable]
    public function leaveProgram(string $end, string $prefix = ''): void
    {
        $this->finish((int) exec("$prefix sleep 600 >/dev/null & echo $!"), $end);
    }

    #[Invokable]
    public function becomeProgram(): void
    {
        file_put_contents(base_path('left'), (string) getmypid());
        pcntl_exec('/usr/bin/sleep', ['600']);
    }

    private function finish(int $left, string $end): void
    {
        file_put_contents(base_path('left'), (string) $left);
        match ($end) {
            'return' => null,
            'exit' => exit(0),
            'kill' => posix_kill(getmypid(), SIGKILL),
            'loop' => (static function (): never {
                while (true) {
                }
            })(),
        };
        $this->process = getmypid();
    }
}
