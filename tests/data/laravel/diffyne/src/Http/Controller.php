<?php

namespace Diffyne\Http;

use BadMethodCallException;
use Diffyne\Attributes\Invokable;
use Diffyne\Component;
use Diffyne\Exceptions\RedirectException;
use Diffyne\Security\StateSigner;
use Diffyne\State\ComponentHydrator;
use Diffyne\VirtualDOM\PatchSerializer;
use Diffyne\VirtualDOM\Renderer;
use Exception;
use Illuminate\Http\JsonResponse;
use Illuminate\Http\Request;
use Illuminate\Validation\ValidationException;
use InvalidArgumentException;
use ReflectionMethod;

/** The AJAX endpoint, with the shapes and faults that the protocol describes. */
final class Controller
{
    public function update(Request $request): JsonResponse
    {
        $failed = fn (string $error, string $type, int $status, array $more = []) => response()->json(
            ['s' => false, 'error' => $error, 'type' => $type] + $more, $status
        );
        try {
            if (! $request->input('componentId') || ! $request->input('state')) {
                return response()->json(['success' => false, 'error' => 'Invalid request'], 400);
            }
            $signature = StateSigner::sign($request->input('state'), $request->input('componentId'));
            if ($request->input('type') === 'update' && ! hash_equals($signature, (string) $request->input('signature'))) {
                return response()->json(['success' => false, 'error' => 'Invalid state signature. State may have been tampered with.'], 403);
            }
            $class = $request->input('componentClass');
            if (! is_string($class) || ! is_subclass_of($class, Component::class)) {
                return response()->json(['success' => false, 'error' => 'Component class not found'], 404);
            }
            $component = app(ComponentHydrator::class)->hydrate($class, $request->input('state'), $request->input('componentId'));
            app(Renderer::class)->snapshotComponent($component);
            if ($request->input('type') === 'update') {
                $component->updateProperty($request->input('property'), $request->input('value'));
            } else {
                $method = $request->input('method');
                if (! method_exists($component, $method)) {
                    return $failed("Method [{$method}] does not exist on component.", 'method_error', 400);
                }
                if ((new ReflectionMethod($component, $method))->getAttributes(Invokable::class) === []) {
                    $text = "Method [{$method}] is not invokable. Add #[Invokable] attribute to allow client invocation.";

                    return $failed($text, 'method_error', 400);
                }
                $component->{$method}(...$request->input('params', []));
            }

            return response()->json(app(PatchSerializer::class)->toResponse(app(Renderer::class)->renderUpdate($component)));
        } catch (RedirectException $redirect) {
            return response()->json(['s' => true] + $redirect->getRedirectData());
        } catch (ValidationException $invalid) {
            return $failed('Validation failed', 'validation_error', 422, ['errors' => $invalid->errors()]);
        } catch (BadMethodCallException $error) {
            return $failed($error->getMessage(), 'method_error', 400);
        } catch (InvalidArgumentException $error) {
            return $failed($error->getMessage(), 'property_error', 400);
        } catch (Exception $error) {
            report($error);

            return $failed('An error occurred while processing your request.', 'server_error', 500);
        }
    }

    public function loadLazy(Request $request): JsonResponse
    {
        try {
            $class = $request->input('componentClass');
            $params = array_merge($request->input('params', []), $request->input('queryParams', []));
            $rendered = app(Renderer::class)->renderInitial(app(ComponentHydrator::class)->mount($class, $params));

            return response()->json(['success' => true] + $rendered);
        } catch (Exception $error) {
            return response()->json(['success' => false, 'error' => 'Failed to load component: '.$error->getMessage()], 500);
        }
    }
}
