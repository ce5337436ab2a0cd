%% @private The steps of a diagnosis, as they are returned and shown.
-module(crema_check_step).

-export([ok/3, ok/4, warning/3, warning/4, failed/4, failed/5, skipped/3, verdict/1, format/2]).

-export_type([step/0, name/0, status/0]).

-type name() ::
    options | names | tcp | tls | kafka | sasl | brokers | topics | read | write | group.
-type status() :: ok | warning | failed | skipped.

-type step() :: crema_check:step().

-spec ok(name(), binary(), iodata()) -> step().
ok(Name, Subject, Message) -> ok(Name, Subject, Message, #{}).

-spec ok(name(), binary(), iodata(), map()) -> step().
ok(Name, Subject, Message, Details) ->
    (step(Name, ok, Subject, Message))#{details := Details}.

-spec warning(name(), binary(), iodata()) -> step().
warning(Name, Subject, Message) -> warning(Name, Subject, Message, #{}).

-spec warning(name(), binary(), iodata(), map()) -> step().
warning(Name, Subject, Message, Details) ->
    (step(Name, warning, Subject, Message))#{details := Details}.

-spec skipped(name(), binary(), iodata()) -> step().
skipped(Name, Subject, Message) -> step(Name, skipped, Subject, Message).

-spec failed(name(), binary(), crema_error:code(), iodata()) -> step().
failed(Name, Subject, Code, Message) -> failed(Name, Subject, Code, Message, #{}).

-spec failed(name(), binary(), crema_error:code(), iodata(), map()) -> step().
failed(Name, Subject, Code, Message, Details) ->
    Hint = crema_error:hint(Code),
    (step(Name, failed, Subject, without(Hint, text(Message))))#{
        code => Code, hint := Hint, details := Details
    }.

-spec step(name(), status(), binary(), iodata()) -> step().
step(Name, Status, Subject, Message) ->
    #{
        step => Name,
        status => Status,
        subject => text(Subject),
        message => text(Message),
        hint => <<>>,
        details => #{}
    }.

%% Some of it is said by whoever has answered: it is no command to a terminal.
-spec text(iodata()) -> binary().
text(Said) ->
    Controls = "[\\x{0}-\\x{1f}\\x{7f}-\\x{9f}]",
    re:replace(crema_error:text(Said), Controls, "?", [unicode, global, {return, binary}]).

%% Errors carry their hint in their message: at its end, or before the variables that
%% a property comes from.
-spec without(binary(), binary()) -> binary().
without(<<>>, Message) ->
    Message;
without(Hint, Message) ->
    case binary:split(Message, <<" ", Hint/binary>>) of
        [Before, After] -> <<Before/binary, After/binary>>;
        _ -> Message
    end.

%% @doc The steps, or the error of the first that has failed with all of them.
-spec verdict([step()]) -> {ok, [step()]} | crema_error:error().
verdict(Steps) ->
    case [Step || #{status := failed} = Step <- Steps] of
        [] ->
            {ok, Steps};
        [#{code := Code, subject := Subject, message := Message} | _] ->
            crema_error:make(Code, [about(Subject), Message], #{steps => Steps})
    end.

-spec about(binary()) -> iodata().
about(<<>>) -> "";
about(Subject) -> [Subject, ": "].

%% @doc The steps for people, a line for each and one for what is to be done.
-spec format([step()], plain | colours) -> iodata().
format(Steps, Style) ->
    [line(Step, Style) || Step <- Steps].

-spec line(step(), plain | colours) -> iodata().
line(#{step := Name, status := Status, subject := Subject, message := Message} = Step, Style) ->
    Hint = maps:get(hint, Step),
    [
        mark(Status, Style),
        io_lib:format(" ~-8s", [Name]),
        about(Subject),
        Message,
        $\n
        | [["                 -> ", Hint, $\n] || Hint =/= <<>>]
    ].

-spec mark(status(), plain | colours) -> iodata().
mark(Status, plain) -> io_lib:format("~-8s", [Status]);
mark(Status, colours) -> [colour(Status), mark(Status, plain), "\e[0m"].

-spec colour(status()) -> string().
colour(ok) -> "\e[32m";
colour(warning) -> "\e[33m";
colour(failed) -> "\e[31m";
colour(skipped) -> "\e[2m".
