<?php

namespace Diffyne\Cluster\Console;

use Illuminate\Console\Command;
use Symfony\Component\Process\Process;

/** php artisan diffyne:cluster: a gateway and a worker on this machine, for development. */
final class ClusterCommand extends Command
{
    private const POLL_MICROSECONDS = 50_000;

    /** How long the programs have to finish what they are doing. */
    private const STOP_SECONDS = 10;

    protected $signature = 'diffyne:cluster
        {--listen=127.0.0.1:6001 : Where the gateway listens}
        {--worker=127.0.0.1:7001 : Where the worker listens}
        {--processes=2 : PHP processes of the worker}
        {--watch=app,config,resources,routes,.env : Files and folders whose changes count at once}';

    protected $description = 'Start a gateway and a worker of Diffyne Cluster for development; Ctrl-C ends both';

    private bool $isOver = false;

    public function handle(): int
    {
        $worker = (string) $this->option('worker');
        $processes = (string) $this->option('processes');
        $programs = [
            'worker' => Programs::process('diffyne-worker', [
                'serve', '--app', base_path(), '--worker-listen', $worker, '--php-command', Programs::php(),
                // Both, as the .env may have limits that are for servers.
                '--php-processes', $processes, '--php-processes-max', $processes,
                '--php-watch', (string) $this->option('watch'),
            ]),
            'gateway' => Programs::process('diffyne-gateway', ['serve', '--listen', (string) $this->option('listen'), '--workers', $worker]),
        ];
        // Without the extension, Ctrl-C ends this at once, and the programs by themselves. A terminal that is closed
        // would leave them: they take its signal as a wish to reload.
        if (function_exists('pcntl_async_signals')) {
            pcntl_async_signals(true);
            foreach ([SIGINT, SIGTERM, SIGHUP] as $signal) {
                pcntl_signal($signal, function (): void {
                    $this->isOver = true;
                });
            }
        }
        try {
            foreach ($programs as $name => $program) {
                $program->start(fn (string $stream, string $text) => $this->show($name, $text));
            }

            return $this->wait($programs);
        } finally {
            // The gateway first: it sends its clients away, and their calls end.
            foreach (array_reverse($programs) as $program) {
                $program->stop(self::STOP_SECONDS);
            }
        }
    }

    /**
     * Shows what the programs print until one of them ends, or the user ends them.
     *
     * @param array<string, Process> $programs
     */
    private function wait(array $programs): int
    {
        while (! $this->isOver) {
            foreach ($programs as $name => $program) {
                if (! $program->isRunning() && ! $this->isOver) {
                    $this->components->error("The {$name} has ended with {$program->getExitCode()}: {$program->getExitCodeText()}");

                    return self::FAILURE;
                }
            }
            usleep(self::POLL_MICROSECONDS);
        }

        return self::SUCCESS;
    }

    private function show(string $name, string $text): void
    {
        foreach (explode("\n", rtrim($text, "\n")) as $line) {
            $this->output->writeln(sprintf('%-7s | ', $name).$line, \Symfony\Component\Console\Output\OutputInterface::OUTPUT_RAW);
        }
    }
}
