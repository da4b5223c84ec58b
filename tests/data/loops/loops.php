<?php

/*
 * Bare loops inside a booted application, to measure a pool against: `php loops.php DIR LOOP METHOD SECONDS CLASSES`.
 *
 *   A  the package's endpoint through the kernel, nothing reset between calls
 *   R  the bridge through the kernel, in a fresh sandbox for each call
 *   S  the bridge on the fast path, in a fresh sandbox for each call
 *   D  the package's classes alone
 *
 * Prints calls and seconds. The bridge and its loop come first on standard input, without their last statement.
 */

namespace Diffyne\Cluster\Loop {

    use Diffyne\Cluster\Bridge;
    use Diffyne\State\ComponentHydrator;
    use Diffyne\VirtualDOM\PatchSerializer;
    use Diffyne\VirtualDOM\Renderer;
    use Illuminate\Contracts\Http\Kernel;
    use Illuminate\Http\Request;

    (static function (array $arguments): void {
        [, $directory, $loop, $method, $seconds, $classes] = $arguments;
        putenv('APP_RUNNING_IN_CONSOLE=false');
        $_ENV['APP_RUNNING_IN_CONSOLE'] = $_SERVER['APP_RUNNING_IN_CONSOLE'] = 'false';
        $application = new Application($directory, $loop === 'R', file_get_contents($classes));
        $app = app();
        $kernel = $app->make(Kernel::class);
        $class = 'App\\Diffyne\\Bench';
        $payload = json_encode(['type' => 'call', 'componentId' => 'diffyne-bench', 'componentClass' => $class, 'method' => $method,
            'params' => [], 'state' => ['count' => 1], 'fingerprint' => '', 'signature' => '']);
        // A user who has been here before.
        $session = $app['session']->driver();
        $session->setId(null);
        $session->start();
        $session->put('uid', 'ada');
        $session->save();
        [$name, $encrypter] = [$session->getName(), $app['encrypter']];
        $prefix = \Illuminate\Cookie\CookieValuePrefix::create($name, $encrypter->getKey());
        $cookies = [$name => $encrypter->encrypt($prefix.$session->getId(), false)];
        $head = ['kind' => 'call', 'transport' => 'ws', 'cookie' => $name.'='.rawurlencode($cookies[$name]), 'headers' => [['user-agent', 'bench']]];
        $one = match ($loop) {
            'A' => static function () use ($kernel, $payload, $cookies): void {
                $server = ['CONTENT_TYPE' => 'application/json', 'HTTP_ACCEPT' => 'application/json', 'HTTP_SEC_FETCH_SITE' => 'same-origin'];
                $request = Request::create('http://localhost/_diffyne/update', 'POST', [], $cookies, [], $server, $payload);
                $response = $kernel->handle($request);
                $response->getStatusCode() === 200 || throw new \RuntimeException($response->getContent());
                $kernel->terminate($request, $response);
                app(Renderer::class)->clearAllSnapshots();
            },
            'R', 'S' => static function () use ($application, $head, $payload): void {
                $application->run($head, $payload, static function (array $answer): void {
                    $answer['head']['outcome'] === 'ok' || throw new \RuntimeException(json_encode($answer));
                }, static fn (array $part): bool => true);
            },
            'D' => static function () use ($payload): void {
                $data = json_decode($payload, true);
                $component = app(ComponentHydrator::class)->hydrate($data['componentClass'], $data['state'], $data['componentId']);
                $renderer = app(Renderer::class);
                $renderer->snapshotComponent($component);
                $component->{$data['method']}();
                json_encode(app(PatchSerializer::class)->toResponse($renderer->renderUpdate($component), true));
                $renderer->clearAllSnapshots();
            },
        };
        if ($loop === 'S' && $application->kernelReason !== null) {
            throw new \RuntimeException($application->kernelReason);
        }
        for ($n = 0; $n < 200; $n++) {
            $one();
        }
        [$calls, $started] = [0, hrtime(true)];
        do {
            $one();
            $calls++;
            $spent = (hrtime(true) - $started) / 1e9;
        } while ($spent < (float) $seconds);
        fwrite(STDOUT, "$calls $spent\n");
    })($argv);
}
