<?php

namespace Diffyne\Cluster;

/**
 * For components that show their answer while they still make it.
 *
 *     <p diff:stream="answer">{{ $answer }}</p>
 *
 *     foreach ($words as $word) {
 *         $this->answer .= $word;
 *         $this->stream(to: 'answer', content: $word);
 *     }
 */
trait Streaming
{
    /**
     * Sends a part of the answer to the page, which shows the text at the end of the component's element with
     * diff:stream="{$to}", or in place of what that shows. What the component renders at last takes its place.
     *
     * Waits while the browser reads more slowly than this. False when the browser has left; then
     * connection_aborted() is true as well, and the next part ends the method, unless ignore_user_abort() is on.
     */
    public function stream(string $to, string|\Stringable|int|float $content, bool $replace = false): bool
    {
        return Parts::send($to, (string) $content, $replace);
    }
}
