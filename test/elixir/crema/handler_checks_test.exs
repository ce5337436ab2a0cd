defmodule Crema.HandlerChecksTest do
  # What is wrong with a handler's module is told when it is compiled, and where.
  use ExUnit.Case, async: true

  # Compiles a module with this after `use Crema.Consumer` and this in its body.
  defp compile(use, body) do
    name = "Crema.HandlerChecksTest.Handler#{System.unique_integer([:positive])}"
    code = "defmodule #{name} do\n  use Crema.Consumer#{use}\n\n  #{body}\nend"
    [{module, _}] = Code.compile_string(code, "lib/handler.ex")
    module
  end

  defp error(use, body \\ "def handle_message(_message, state), do: {:ack, state}") do
    assert %{file: file, description: text} =
             assert_raise(CompileError, fn -> compile(use, body) end)

    assert Path.basename(file) == "handler.ex"
    assert text =~ ~r/^Crema.HandlerChecksTest.Handler\d+ is no handler as it stands: /
    String.replace(text, ~r/^.*?: /, "")
  end

  test "an option that is unknown is told with the one that was meant" do
    assert error(~s(, topcs: ["a"])) ==
             "the option :topcs of `use Crema.Consumer` is unknown, did you mean :topics?"

    assert error(", %{gruop: group()}") =~ "the option :gruop of `use Crema.Consumer` is unknown"
    assert error(~s(, "linger.ms": 5)) =~ "goes under the option kafka"
    assert error(", ordering: :loose") =~ "it is an option of a producer"
  end

  test "a literal that is no value of its option is told, a secret is not" do
    assert error(", start: :earlist") =~ ~r/the option :start .* must be .*, not :earlist$/
    assert error(~s(, group: "")) =~ "the option :group of `use Crema.Consumer` must be"
    assert error(", topics: []") =~ "the option :topics of `use Crema.Consumer` must be"
    assert error(", concurrency: {:key, 0}") =~ "not {:key, 0}"
    refute error(~s(, producer: [kafka: 5, "sasl.password": "hunter2"])) =~ "hunter2"
  end

  test "what is known at run time only is left until then" do
    assert compile(", group: System.fetch_env!(\"NOT_SET\"), topics: topics()", """
           def topics, do: ["a"]
           def handle_message(_message, state), do: {:ack, state}
           """)

    assert compile(~s(, handler: {String, :length}, id: 1, restart: :permanent, args: nil), "")
    assert compile(", [name: __MODULE__] ++ Function.identity([])", "")
  end

  test "a handler without a callback for messages, or with another number of arguments, is none" do
    assert error("", "") =~ "it defines neither handle_message/2 nor handle_messages/2"

    assert error("", "def handle_message(_message), do: :ok") =~
             "it defines handle_message/1, but a handler's handle_message has two arguments"

    assert error("", """
           def handle_message(_, state), do: {:ack, state}
           def handle_revoked(_topic, _partition, state), do: {:ok, state}
           """) =~ "it defines handle_revoked/3"

    # It is known before the module is loaded.
    assert error("\n@compile {:autoload, false}", "") =~ "it defines neither handle_message/2"

    # One that calls its own function of another arity is well.
    assert compile("", """
           def handle_messages(messages, state), do: handle_messages(messages, state, 1)
           def handle_messages(_messages, state, _n), do: {:ack, state}
           """)
  end

  test "child_spec and start_link may be overridden" do
    module =
      compile(~s(, group: "a", id: :of_use, shutdown: 1), """
      def child_spec(opts), do: opts |> super() |> Map.put(:restart, :permanent)
      def start_link(opts), do: {:mine, opts}
      def handle_message(_message, state), do: {:ack, state}
      """)

    assert %{id: :of_use, restart: :permanent, shutdown: 1} = module.child_spec([])
    assert %{id: :of_child, shutdown: 2} = module.child_spec(%{id: :of_child, shutdown: 2})
    assert module.start_link(group: "b") == {:mine, [group: "b"]}

    # By supervisors too, which show arguments.
    opts = [kafka: ["sasl.password": "s3cret"]]
    %{start: {starter, function, args} = start} = module.child_spec(opts)
    assert apply(starter, function, args) == {:mine, opts}
    refute inspect(start) =~ "s3cret"
  end

  test "start_link/1 of the module's own may go on to that of use" do
    handler = "def handle_message(_message, state), do: {:ack, state}"

    own =
      compile(
        ", topics: [\"a\"]",
        "def start_link(o), do: super([group: \"b\"] ++ o)\n" <> handler
      )

    pid = start_supervised!({own, bootstrap_servers: "127.0.0.1:1", shutdown: 1_000})
    assert {:ok, ["a"]} = Crema.Control.subscription(pid)
    assert :ok = stop_supervised!(own)
    assert %{start: {:crema_consumer, :start_link, _}} = compile("", handler).child_spec([])
  end

  test "Crema.Consumer has the callbacks of the Erlang side, each described" do
    told = fn module, kind -> module.behaviour_info(kind) |> Enum.sort() end
    assert told.(Crema.Consumer, :callbacks) == told.(:crema_consumer, :callbacks)
    assert told.(Crema.Consumer, :optional_callbacks) == told.(:crema_consumer, :callbacks)

    {:docs_v1, _, _, _, _, _, docs} = Code.fetch_docs(Crema.Consumer)
    assert [] = for({{:callback, name, _}, _, _, doc, _} <- docs, not is_map(doc), do: name)
  end
end
