<?php

namespace Diffyne\Http;

use Diffyne\TemporaryFiles;
use Illuminate\Http\JsonResponse;
use Illuminate\Http\Request;
use Illuminate\Http\Response;
use Illuminate\Http\UploadedFile;
use Illuminate\Support\Facades\Storage;

/** Takes a file for a property of a component, and shows it. */
final class Uploads
{
    private const LARGEST_KIB = 12288;

    public function store(Request $request): JsonResponse
    {
        $file = $request->file('file');
        $refuse = fn (string $why, int $status) => response()->json(['success' => false, 'error' => $why], $status);
        if (! $file instanceof UploadedFile || ! $file->isValid()) {
            return $refuse('No file uploaded', 400);
        }
        if (! $request->filled('componentId') || ! $request->filled('property')) {
            return $refuse('Missing required parameters', 400);
        }
        if ($file->getSize() > self::LARGEST_KIB * 1024) {
            return $refuse('File too large', 422);
        }
        $identifier = TemporaryFiles::store($file, $request->string('componentId')->value());

        return response()->json(['success' => true, 'identifier' => $identifier]);
    }

    public function show(Request $request): Response
    {
        $path = TemporaryFiles::path((string) $request->query('id'));
        abort_if($path === null, 404);
        $types = ['png' => 'image/png', 'jpg' => 'image/jpeg', 'gif' => 'image/gif'];
        $type = $types[pathinfo($path, PATHINFO_EXTENSION)] ?? 'application/octet-stream';

        return response(Storage::disk('local')->get($path), 200, ['Content-Type' => $type]);
    }
}
