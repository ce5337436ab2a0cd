defmodule Crema.Kaffe.Handler do
  @moduledoc false
  # What handlers of Kaffe's have in common as handlers of crema's.

  alias Crema.Kaffe.Config

  @typedoc "The module, and what stands for null."
  @type args :: %{module: module, null: nil | binary}

  @doc "The arguments with this configuration, if its module has what is called."
  @spec args(Config.section(), atom, arity) :: {:ok, args} | Crema.error()
  def args(section, function, arity) do
    module = section["message_handler"]

    if is_nil(module) or is_exported(module, function, arity) do
      {:ok, %{module: module, null: Config.null(section)}}
    else
      why = "#{inspect(module)} has no #{function}/#{arity}"
      :crema_option_faults.error(:consumer, [%{option: :message_handler, reason: why}])
    end
  end

  defp is_exported(module, function, arity) do
    is_atom(module) and Code.ensure_loaded?(module) and
      function_exported?(module, function, arity)
  end

  @doc "What follows a return that is none of success."
  @spec failed(term, mfa, String.t(), state) :: {:error, term, state} | no_return when state: term
  def failed({:error, reason}, _mfa, _may, state), do: {:error, reason, state}

  def failed(returned, {module, function, arity}, may, _state) do
    whose = Exception.format_mfa(module, function, arity)

    raise "#{whose} returned #{:crema_crash.show(returned)}, but may return: #{may}, {:error, reason}"
  end
end
