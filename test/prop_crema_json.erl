%% Properties of crema's own JSON: what it writes it reads back, and no text
%% makes it do anything but answer.
-module(prop_crema_json).

-include_lib("proper/include/proper.hrl").

prop_round_trip() ->
    %% A term comes back as it was.
    ?FORALL(Term, json(), begin
        Text = iolist_to_binary(crema_json_text:encode(Term)),
        crema_json_text:decode(Text) =:= Term
    end).

prop_facade_round_trip() ->
    %% Also by way of the module that OTP's own may stand behind.
    ?FORALL(Term, json(), begin
        {ok, Text} = crema_json:encode(Term),
        crema_json:decode(iolist_to_binary(Text)) =:= {ok, Term}
    end).

prop_space_changes_nothing() ->
    %% Space between the parts of a text is of no meaning.
    ?FORALL({Terms, Space}, {resize(5, list(json())), list(oneof([$\s, $\t, $\n, $\r]))}, begin
        Parts = [iolist_to_binary(crema_json_text:encode(T)) || T <- Terms],
        Text = iolist_to_binary([
            Space, $[, Space, lists:join([Space, $,, Space], Parts), Space, $], Space
        ]),
        crema_json_text:decode(Text) =:= Terms
    end).

prop_escapes() ->
    %% Any character may be written by its number.
    ?FORALL(Chars, list(char_of_text()), begin
        Text = iolist_to_binary([$", [escaped(C) || C <- Chars], $"]),
        crema_json_text:decode(Text) =:= unicode:characters_to_binary(Chars)
    end).

prop_any_text_is_answered() ->
    %% Broken texts are errors that name a place, never anything else.
    ?FORALL(Text, oneof([binary(), broken(), looks_like()]), begin
        try crema_json_text:decode(Text) of
            _ -> is_binary(iolist_to_binary(crema_json_text:encode(crema_json_text:decode(Text))))
        catch
            error:{unexpected, At} -> At >= 0 andalso At =< byte_size(Text)
        end
    end).

json() -> ?SIZED(Size, json(Size)).

json(0) ->
    oneof([null, true, false, integer(), large_int(), float(), text()]);
json(Size) ->
    frequency([
        {3, json(0)},
        {1, resize(Size div 2, list(?LAZY(json(Size div 3))))},
        {1, ?LET(Pairs, list({text(), ?LAZY(json(Size div 3))}), maps:from_list(Pairs))}
    ]).

large_int() -> ?LET({A, B}, {integer(), largeint()}, A * B * B).

text() -> ?LET(Chars, list(char_of_text()), unicode:characters_to_binary(Chars)).

char_of_text() ->
    oneof([
        range(0, 127), range(128, 16#D7FF), range(16#E000, 16#FFFF), range(16#10000, 16#10FFFF)
    ]).

escaped(C) when C < 16#10000 ->
    io_lib:format("\\u~4.16.0b", [C]);
escaped(C) ->
    High = 16#D800 + ((C - 16#10000) bsr 10),
    Low = 16#DC00 + ((C - 16#10000) band 16#3FF),
    io_lib:format("\\u~4.16.0B\\u~4.16.0b", [High, Low]).

%% A right text with a byte changed, or cut short.
broken() ->
    ?LET(
        {Term, At, Byte}, {json(), non_neg_integer(), byte()},
        begin
            Text = iolist_to_binary(crema_json_text:encode(Term)),
            Place = At rem byte_size(Text),
            <<Before:Place/binary, _, After/binary>> = Text,
            oneof([Before, <<Before/binary, Byte, After/binary>>])
        end
    ).

looks_like() ->
    ?LET(
        Parts,
        list(oneof(["{", "}", "[", "]", ",", ":", "\"", "\\", "u", "0", "1", "-", ".", "e", "+", "null"])),
        iolist_to_binary(Parts)
    ).
