defmodule Crema.Kaffe do
  @moduledoc """
  What an application that uses Kaffe needs of it, on crema.

  It is configured as Kaffe is, under another key, and named by an alias:

      # config/config.exs
      config :crema, Crema.Kaffe,
        producer: [endpoints: [kafka: 9092], topics: ["orders"]]

      # where Kaffe.Producer and the like are called
      alias Crema.Kaffe

      :ok = Kaffe.Producer.produce_sync("42", "one espresso")

  Or `define/0` defines modules of Kaffe's own names, and no code is changed.

    * `Crema.Kaffe.Producer`
    * `Crema.Kaffe.GroupMemberSupervisor`, and `Crema.Kaffe.MessageHandler` for its handlers
    * `Crema.Kaffe.GroupManager`
    * `Crema.Kaffe.Consumer`
    * `Crema.Kaffe.PartitionSelector`

  What is the same and what differs, option by option: the page "From Kaffe" (docs/kaffe.md).
  """

  @modules [
    :Producer,
    :Consumer,
    :GroupMemberSupervisor,
    :GroupManager,
    :PartitionSelector
  ]

  @doc """
  Defines `Kaffe.Producer` and the others, which call those of this module. For a file of its own in an
  application that no longer depends on Kaffe:

      # lib/kaffe.ex
      require Crema.Kaffe
      Crema.Kaffe.define()
  """
  defmacro define do
    if is_list(:code.lib_dir(:kaffe)) do
      raise CompileError,
        file: __CALLER__.file,
        line: __CALLER__.line,
        description: "Kaffe is there itself: take it out of the dependencies in mix.exs"
    end

    [handler() | Enum.map(@modules, &facade/1)]
  end

  defp facade(name) do
    target = Module.concat(__MODULE__, name)

    functions =
      for {function, arity} <- target.__info__(:functions), is_kaffes(function, arity) do
        args = Macro.generate_arguments(arity, __MODULE__)
        quote(do: defdelegate(unquote(function)(unquote_splicing(args)), to: unquote(target)))
      end

    define(name, "`#{inspect(target)}`.", functions)
  end

  # Not what crema has for itself.
  defp is_kaffes(function, arity),
    do: function != :start_client and {function, arity} != {:child_spec, 2}

  defp handler do
    callback =
      quote do
        @callback handle_messages([Crema.Kaffe.Consumer.message(), ...]) ::
                    Crema.Kaffe.MessageHandler.result()
      end

    define(:MessageHandler, "`Crema.Kaffe.MessageHandler`.", callback)
  end

  defp define(name, doc, body) do
    quote do
      defmodule unquote(Module.concat(Kaffe, name)) do
        @moduledoc unquote(doc)
        unquote(body)
      end
    end
  end
end
