<?php

namespace Diffyne\Cluster\Console;

use Diffyne\Cluster\Gateway;
use RuntimeException;
use Symfony\Component\Process\ExecutableFinder;
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
        // The programs run in the application's directory.
        $folder = $folder === '' || str_starts_with($folder, '/') ? $folder : base_path($folder);
        $found = $folder === '' ? (new ExecutableFinder())->find($program) : "{$folder}/{$program}";
        if ($found === null || ! is_executable($found)) {
            throw new RuntimeException($folder === ''
                ? "{$program} is not in PATH: install it, or name its folder in DIFFYNE_PROGRAMS"
                : "{$found} is not there: DIFFYNE_PROGRAMS names the folder of diffyne-gateway and diffyne-worker");
        }
        $file = app()->environmentFilePath();
        $arguments = is_file($file) ? [...$arguments, '--env-file', $file] : $arguments;
        $token = Gateway::token();
        $environment = $token === '' ? [] : ['DIFFYNE_ADMIN_TOKEN' => $token];

        return new Process([$found, ...$arguments], base_path(), $environment, null, null);
    }

    /** The PHP that runs this. */
    public static function php(): string
    {
        return (new PhpExecutableFinder())->find(false) ?: 'php';
    }
}
