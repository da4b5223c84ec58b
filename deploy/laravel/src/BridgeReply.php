<?php

namespace Diffyne\Cluster;

use BadMethodCallException;
use Diffyne\Component;
use Diffyne\Exceptions\RedirectException;
use Illuminate\Contracts\Debug\ExceptionHandler;
use Illuminate\Database\QueryException;
use InvalidArgumentException;
use JsonException;
use PDOException;
use Throwable;

/** What a worker gets for a call: a head for itself, and the JSON for the client. */
final class BridgeReply
{
    public const JSON = JSON_UNESCAPED_SLASHES | JSON_UNESCAPED_UNICODE | JSON_THROW_ON_ERROR;

    /** States of failed queries whose texts name tables and servers. Those of others name values: of data, of violated constraints. */
    private const SPEAKING_STATES = '/^(?:08|28|40|42)/';

    /** Codes of drivers for the same, where the state is the general one: of SQLite, and of MySQL. */
    private const SPEAKING_CODES = [1, 5, 6, 8, 10, 11, 13, 14, 26, 1205, 1364, 2002, 2003, 2006, 2013];

    /** The reply to a call that has made this response. */
    public static function success(array $response): array
    {
        return self::make(['outcome' => 'ok'] + self::eventsOf($response), $response);
    }

    /** What a worker is told of a response's events: those that may go to the whole cluster, and how many there are. */
    private static function eventsOf(array $response): array
    {
        $events = [];
        foreach ($response['events'] ?? [] as $index => $event) {
            if ($event['to'] === null) {
                $params = json_encode(array_values($event['params']), self::JSON);
                $events[] = ['index' => $index, 'name' => $event['name'], 'params' => $params];
            }
        }

        return ['events' => $events, 'event_count' => count($response['events'] ?? [])];
    }

    /**
     * The parts of a response whose patches, fingerprint and signature the worker makes: both HTMLs, the state, and the
     * rest of the JSON from behind the signature on.
     */
    public static function view(Component $component, ?string $old, string $html, bool $isExact): array
    {
        $state = $component->getState();
        $errors = $component->getErrorBag();
        $more = array_filter(['e' => $errors->isNotEmpty() ? $errors->toArray() : [], 'q' => $component->getQueryString()]);
        $response = array_filter(['events' => $component->getDispatchedEvents(), 'browserEvents' => $component->getBrowserEvents()]);
        $members = static fn (array $values): string => $values === [] ? '}' : ','.substr(json_encode($values, self::JSON), 1);
        [$json, $rest] = PageState::encodable($component, $state, static function () use ($component, $state, $isExact, $more, $response, $members): array {
            try {
                return [json_encode($state, self::JSON), $members($more).$members($response)];
            } catch (JsonException $error) {
                // It names the property where it knows the reason.
                PageState::signature($component, $state, '', $isExact);
                throw $error;
            }
        });
        $locked = array_keys(array_intersect_key($state, Locks::of($component::class)['locked']));
        $view = ['html' => strlen($html), 'state' => strlen($json), 'locked' => $locked] + ($old === null ? [] : ['old' => strlen($old)]);

        return [
            'head' => ['outcome' => 'ok', 'view' => $view, 'memory' => memory_get_usage(true)] + self::eventsOf($response),
            'body' => $old.$html.$json.$rest,
        ];
    }

    public static function failure(string $outcome, string $error, array $more = []): array
    {
        return self::make(['outcome' => $outcome, 'error' => $error] + $more, null);
    }

    public static function make(array $head, ?array $response): array
    {
        $head['memory'] = memory_get_usage(true);

        return ['head' => $head, 'body' => $response === null ? '' : json_encode($response, self::JSON)];
    }

    /** The reply to exceptions that the package's own endpoint answers with their own words, or follows. */
    public static function forEndpoint(Throwable $error): ?array
    {
        return match (true) {
            $error instanceof RedirectException => self::success(['s' => true, 'redirect' => $error->getRedirectData()['redirect']]),
            $error instanceof BadMethodCallException => self::failure('method', $error->getMessage(), self::unlessByClient($error)),
            $error instanceof InvalidArgumentException => self::failure('property', $error->getMessage(), self::unlessByClient($error)),
            default => null,
        };
    }

    /**
     * Where the application failed, for the worker's log: a missing view is such an exception, too. Nothing when the package
     * has refused what the client asked for.
     */
    private static function unlessByClient(Throwable $error): array
    {
        [$thrower, $caller] = $error->getTrace() + [[], []];
        $isRefusal = ($thrower['class'] ?? '') === Component::class && ($caller['class'] ?? '') === Bridge::class;

        return $isRefusal ? [] : self::place($error);
    }

    /** What a worker's log has of an exception beside its message. */
    public static function place(Throwable $error): array
    {
        $place = ['exception' => $error::class, 'file' => str_replace(base_path().'/', '', $error->getFile()), 'line' => $error->getLine()];
        $text = self::withoutBindings($error);

        return $text === $error->getMessage() ? $place : $place + ['logged' => $text];
    }

    /** The message without the values of the queries that have failed: these are the users'. */
    private static function withoutBindings(Throwable $error): string
    {
        $text = $error->getMessage();
        for ($cause = $error; $cause !== null; $cause = $cause->getPrevious()) {
            if ($cause instanceof QueryException) {
                $text = str_replace($cause->getMessage(), self::queryError($cause), $text);
            }
        }

        return $text;
    }

    private static function queryError(QueryException $error): string
    {
        $driver = $error->getPrevious();
        $state = (string) $error->getCode();
        $code = $driver instanceof PDOException ? (int) ($driver->errorInfo[1] ?? 0) : 0;
        $says = match (true) {
            preg_match(self::SPEAKING_STATES, $state) === 1, in_array($code, self::SPEAKING_CODES, true) => $driver?->getMessage() ?? "SQLSTATE[$state]",
            $driver instanceof PDOException => "SQLSTATE[$state], error ".($driver->errorInfo[1] ?? '?'),
            default => "SQLSTATE[$state]",
        };

        return "$says (SQL: {$error->getSql()})";
    }

    /** The reply to a call that did not run, since the session of its connection has ended. */
    public static function sessionEnded(): array
    {
        return self::make(['outcome' => 'session_ended', 'session' => 'gone'], null);
    }

    /** An error of the application: reported there, and shown to clients in debug mode only. */
    public static function forException(Throwable $error): array
    {
        try {
            app(ExceptionHandler::class)->report($error);
        } catch (Throwable) {
            // A failing handler must not hide the error.
        }

        return self::failure('exception', $error->getMessage(), self::place($error));
    }
}
