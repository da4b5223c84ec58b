<?php

namespace Diffyne\Cluster\Console;

use Diffyne\Cluster\Broadcasting\ClusterBroadcaster;
use Diffyne\Cluster\Publisher;
use Illuminate\Console\Command;
use Illuminate\Contracts\Broadcasting\Factory;
use Throwable;

/** php artisan diffyne:doctor: checks the application's side, and has the gateway check the rest. */
final class DoctorCommand extends Command
{
    protected $signature = 'diffyne:doctor
        {--url= : The address that pages connect to (wss://shop.example/diffyne): look at it through the real front}
        {--workers= : Addresses of workers, where no Redis tells them}';

    protected $description = 'Check the set-up of Diffyne Cluster; each line says that a part is ok, or what to do';

    public function handle(): int
    {
        $isWell = $this->checkPublishing();
        $this->checkBroadcasting();
        $arguments = ['doctor'];
        foreach (['url', 'workers'] as $name) {
            $value = (string) $this->option($name);
            $arguments = $value === '' ? $arguments : [...$arguments, "--{$name}", $value];
        }
        $program = Programs::process('diffyne-gateway', $arguments);
        $program->run(fn (string $stream, string $text) => $this->output->write($text));

        return $isWell && $program->isSuccessful() ? self::SUCCESS : self::FAILURE;
    }

    /** Whether events of jobs, commands and other requests reach the gateways. */
    private function checkPublishing(): bool
    {
        $url = (string) config('diffyne.cluster.publish_url');
        $way = $url === '' ? "the application's Redis" : $url;
        try {
            Publisher::check();
        } catch (Throwable $error) {
            $this->finding('BAD', 'publishing', "{$way}: {$error->getMessage()}");

            return false;
        }
        $this->finding('ok', 'publishing', "through {$way}");

        return true;
    }

    private function checkBroadcasting(): void
    {
        $name = (string) config('broadcasting.default');
        try {
            $isOurs = app(Factory::class)->connection() instanceof ClusterBroadcaster;
        } catch (Throwable) {
            $isOurs = false;
        }
        $this->finding($isOurs ? 'ok' : 'note', 'broadcasting', $isOurs ? 'BROADCAST_CONNECTION=diffyne' : "by `{$name}`, so broadcast() does not reach the pages of the cluster");
    }

    private function finding(string $state, string $part, string $text): void
    {
        $this->output->writeln(sprintf('%-5s %-12s %s', $state, $part, $text), \Symfony\Component\Console\Output\OutputInterface::OUTPUT_RAW);
    }
}
