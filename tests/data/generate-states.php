<?php

use Diffyne\Cluster\PageState;
use Diffyne\VirtualDOM\Renderer;
use Random\Engine\Xoshiro256StarStar;
use Random\Randomizer;

/** States of the component `Values`, by a seed. */
final class States
{
    /** Prints states of a component and their signatures, as JSON. */
    public static function generate(int $count, int $seed): void
    {
        $random = new Randomizer(new Xoshiro256StarStar($seed));
        $renderer = app(Renderer::class);
        $made = [];
        for ($n = 0; $n < $count; $n++) {
            $component = new App\Diffyne\Values();
            $component->value = self::members($random, 3);
            $state = $component->getState();
            $exact = $bare = null;
            try {
                $exact = $renderer->renderInitial($component)['signature'];
                $bare = PageState::signature($component, $state, $exact, false);
            } catch (RuntimeException) {
                // Refused for all, or for scripts that do not keep integers.
            }
            $text = json_encode($state, $random->getInt(0, 1) ? 0 : JSON_UNESCAPED_UNICODE | JSON_UNESCAPED_SLASHES);
            $made[] = ['id' => $component->id, 'state' => $text === false ? 'null' : $text, 'exact' => $exact, 'bare' => $bare];
        }
        echo json_encode($made, JSON_THROW_ON_ERROR);
    }

    public static function members(Randomizer $random, int $depth): array
    {
        $array = [];
        $isList = $random->getInt(0, 1) === 1;
        for ($n = $random->getInt(0, 4); $n > 0; $n--) {
            $value = self::value($random, $depth);
            $isList ? $array[] = $value : $array[self::name($random)] = $value;
        }

        return $array;
    }

    public static function value(Randomizer $random, int $depth): mixed
    {
        return match ($random->getInt(0, $depth > 0 ? 11 : 8)) {
            0 => null,
            1 => $random->getInt(0, 1) === 1,
            2 => $random->getInt(-1000, 1000),
            3 => $random->getInt(0, 9) === 0 ? unpack('q', $random->getBytes(8))[1] : $random->getInt(-(2 ** 53) + 1, 2 ** 53 - 1),
            4 => $random->getInt(0, 4) === 0 ? [-0.0, 1e17, -1e17, 2.0 ** 53, 2.0 ** 62, 2.0 ** 63, -(2.0 ** 63), 1e21, 1e-7, 0.1 + 0.2, 5e-324][$random->getInt(0, 10)] : $random->getInt(-10 ** 6, 10 ** 6) / 64,
            5 => self::number($random),
            6, 7 => self::text($random),
            8 => $random->getInt(0, 9) === 0 ? 'x'.$random->getInt(0, 9) : '',
            9, 10 => self::members($random, $depth - 1),
            11 => $random->getInt(0, 9) === 0 ? (object) self::members($random, $depth - 1) : [],
        };
    }

    /** Any double; a few are no numbers. */
    public static function number(Randomizer $random): float
    {
        $float = unpack('e', $random->getBytes(8))[1];

        return is_finite($float) || $random->getInt(0, 3) === 0 ? $float : 0.5;
    }

    public static function text(Randomizer $random): string
    {
        $pieces = ['a', 'Z', '7', '/', '"', '\\', "\n", "\u{0}", "\u{7f}", "\u{2028}", '<', '&', 'é', '😀', "\u{feff}", '12345678901234567890', '"5":', '__proto__', ' ', '{', ']'];
        $text = '';
        for ($n = $random->getInt(0, 5); $n > 0; $n--) {
            $text .= $pieces[$random->getInt(0, count($pieces) - 1)];
        }

        return $random->getInt(0, 999) === 0 ? $text."\xff" : $text;
    }

    public static function name(Randomizer $random): string|int
    {
        $names = ['a', 'b', 'Z', '_', '__proto__', 'toJSON', 'constructor', 'length', 'é', '', ' 7', '1e1', '01', '-1', '4294967295', '4294967294', '9007199254740993'];

        return match ($random->getInt(0, 3)) {
            0 => $random->getInt(0, 12),
            default => $names[$random->getInt(0, count($names) - 1)],
        };
    }
}
