<?php

namespace Diffyne\Cluster\Console;

use Illuminate\Console\Command;

/** php artisan diffyne:restart: after a deploy, the worker replaces its PHP processes one by one, and no call fails. */
final class RestartCommand extends Command
{
    protected $signature = 'diffyne:restart
        {--admin=127.0.0.1:17001 : The admin address of the worker on this machine}';

    protected $description = 'Have the worker of Diffyne Cluster run the newest code, and wait until it does';

    public function handle(): int
    {
        $program = Programs::process('diffyne-worker', ['reload', '--worker-admin-listen', (string) $this->option('admin')]);
        $program->run(fn (string $stream, string $text) => $this->output->write($text));

        return $program->isSuccessful() ? self::SUCCESS : self::FAILURE;
    }
}
