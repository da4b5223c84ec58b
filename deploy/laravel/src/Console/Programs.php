<?php

namespace Diffyne\Cluster\Console;

use Diffyne\Cluster\Gateway;
use Symfony\Component\Process\PhpExecutableFinder;
use Symfony\Component\Process\Process;

/** The programs diffyne-gateway and diffyne-worker, with the application's settings. */
final class Programs
{
    /**
     * A program in the application's directory. It gets the application's .env, and what Laravel has read of it.
     *
     * @param list<string> $arguments
     */
    public static function process(string $program, array $arguments): Process
    {
        $folder = rtrim((string) config('diffyne.cluster.programs'), '/');
        $file = app()->environmentFilePath();
        $arguments = is_file($file) ? [...$arguments, '--env-file', $file] : $arguments;
        $token = Gateway::token();
        $environment = $token === '' ? [] : ['DIFFYNE_ADMIN_TOKEN' => $token];

        return new Process([$folder === '' ? $program : "{$folder}/{$program}", ...$arguments], base_path(), $environment, null, null);
    }

    /** The PHP that runs this. */
    public static function php(): string
    {
        return (new PhpExecutableFinder())->find(false) ?: 'php';
    }
}
